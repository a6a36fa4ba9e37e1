//! `lockstep user NAME`: a token, and what the edge's configuration must say of it.

use crate::exit::Failure;
use lockstep_edge::admin::new_token;

/// Prints a new token, which nobody keeps, and its entry in the configuration.
pub fn make(name: &str, rights: &[String]) -> Result<(), Failure> {
    let (token, hash) = new_token().map_err(Failure::from_error)?;
    let rights: Vec<String> = rights.iter().map(|right| format!("\"{right}\"")).collect();
    println!(
        "# For {name} alone: put this into a file that only {name} can read, and give it to the verbs as --token-file."
    );
    println!("# It is shown once.\n{token}\n");
    println!("# For the edge's configuration; `lockstep` takes it over on SIGHUP.");
    println!("[[edge.users]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nrights = [{}]", rights.join(", "));
    Ok(())
}
