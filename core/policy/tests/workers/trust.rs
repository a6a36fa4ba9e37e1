//! Which plugins may be loaded.

use crate::rig::Fixture;
use lockstep_policy::host::{PluginFile, TrustError, TrustList, trust};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn admit(list: &Path, file: &Path) -> Result<(), String> {
    let file = PluginFile::read(file).expect("it is sound");
    let list = TrustList::read(list).map_err(|error| error.to_string())?;
    list.admit(&file).map_err(|error| error.to_string())
}

#[test]
fn a_plugin_is_trusted_by_its_bytes() {
    let fixture = Fixture::hostile("NOTHING");
    let list = fixture.folder().join("policies.trust");
    let (file, shown) = (&fixture.file, list.display());
    let fingerprint = PluginFile::read(file).expect("it is sound").fingerprint().to_string();
    let refused = admit(&list, file).expect_err("there is no list");
    let remedy = format!("lockstep policy trust {} --trust-file {shown}", file.display());
    for part in ["policy `nothing` 0.6.6 is not trusted: there is no list", &fingerprint, &remedy] {
        assert!(refused.contains(part), "{part}: {refused}");
    }

    let added = trust(&list, std::slice::from_ref(file)).expect("it is added");
    assert_eq!((added[0].name.as_str(), added[0].version.as_str(), added[0].already), ("nothing", "0.6.6", false));
    assert_eq!(admit(&list, file), Ok(()));
    let text = std::fs::read_to_string(&list).expect("it can be read");
    assert!(text.contains(&format!("{fingerprint}  nothing 0.6.6  # {}\n", file.display())), "{text}");
    assert_eq!(std::fs::metadata(&list).expect("it is there").permissions().mode() & 0o777, 0o644);
    assert!(trust(&list, std::slice::from_ref(file)).expect("it is there")[0].already);
    assert_eq!(std::fs::read_to_string(&list).expect("it can be read"), text, "nothing is written twice");

    // The same name with other bytes.
    let other = Fixture::new("hostile.c", "include", &["-DHOSTILE=ABORT", "-DID=\"nothing\""]);
    let refused = admit(&list, &other.file).expect_err("it has changed");
    let changed = format!("the file has changed since it was trusted as 0.6.6 with SHA-256 {fingerprint} in {shown}");
    assert!(refused.contains(&changed), "{refused}");
}

#[test]
fn what_others_may_write_is_refused_with_the_command_that_takes_it_from_them() {
    let fixture = Fixture::hostile("NOTHING");
    let list = fixture.folder().join("policies.trust");
    trust(&list, std::slice::from_ref(&fixture.file)).expect("it is added");
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    for mode in [0o664, 0o646, 0o777] {
        open(&fixture.file, mode);
        let refused = admit(&list, &fixture.file).expect_err("others may write");
        assert!(refused.contains(&format!("(mode {mode:04o}); chmod go-w {}", fixture.file.display())), "{refused}");
        let refused = trust(&list, std::slice::from_ref(&fixture.file)).expect_err("others may write").to_string();
        assert!(refused.contains("chmod go-w"), "{refused}");
    }
    open(&fixture.file, 0o755);
    assert_eq!(admit(&list, &fixture.file), Ok(()));
    open(&list, 0o666);
    let refused = admit(&list, &fixture.file).expect_err("others may write the list");
    assert!(refused.contains(&format!("chmod go-w {}", list.display())), "{refused}");
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let fixture = Fixture::hostile("NOTHING");
    // Only root can give a file away; for anybody else every foreign file is somebody else's anyway.
    if std::os::unix::fs::chown(&fixture.file, Some(12_345), None).is_err() {
        return;
    }
    let refused = admit(&fixture.folder().join("policies.trust"), &fixture.file).expect_err("it is not ours");
    assert!(refused.contains("belongs to user 12345, who is neither root nor the user"), "{refused}");
    assert!(refused.contains("chown root"), "{refused}");
}

#[test]
fn a_list_with_a_line_that_means_nothing_trusts_nothing() {
    let fixture = Fixture::hostile("NOTHING");
    let list = fixture.folder().join("policies.trust");
    trust(&list, std::slice::from_ref(&fixture.file)).expect("it is added");
    let sound = std::fs::read_to_string(&list).expect("it can be read");
    for line in
        ["abc  nothing 0.6.6", "nothing", &format!("{} x", "0".repeat(64)), &format!("{} x 1 2", "0".repeat(64))]
    {
        std::fs::write(&list, format!("{sound}\n{line}\n")).expect("it can be written");
        let error = TrustList::read(&list).expect_err("it means nothing");
        assert!(matches!(&error, TrustError::Line { line: 4, .. }), "{error}");
        assert!(trust(&list, std::slice::from_ref(&fixture.file)).is_err());
    }
    std::fs::write(&list, format!("# a comment\n\n{sound}")).expect("it can be written");
    assert_eq!(admit(&list, &fixture.file), Ok(()));
}

#[test]
fn several_are_trusted_or_none() {
    let fixture = Fixture::hostile("NOTHING");
    let list = fixture.folder().join("policies.trust");
    let text = fixture.folder().join("text.so");
    std::fs::write(&text, "no plugin").expect("it can be written");
    let error = trust(&list, &[fixture.file.clone(), text]).expect_err("one is none").to_string();
    assert!(error.contains("it is not an ELF file"), "{error}");
    assert!(!list.exists());
}
