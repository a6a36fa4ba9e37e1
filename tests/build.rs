//! Compiles the contract between edge and agent as it was in earlier versions, for the tests that play such a peer.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=older");
    for version in ["minor-0", "minor-1"] {
        let out = std::path::Path::new(&std::env::var("OUT_DIR")?).join(version);
        std::fs::create_dir_all(&out)?;
        let contract = protox::compile([format!("older/{version}.proto")], ["older"])?;
        tonic_prost_build::configure().out_dir(out).compile_fds(contract)?;
    }
    Ok(())
}
