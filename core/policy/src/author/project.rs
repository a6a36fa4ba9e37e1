//! A new policy's project: whole, small, and passing its own checks. What to change is what it decides.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What a policy is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Against the SDK crate.
    Rust,
    /// Against the header alone.
    C,
}

/// Why there is no new project.
#[derive(Debug)]
pub enum ProjectError {
    /// The name cannot be one.
    Name(String),
    /// Something of that name is there.
    Exists(PathBuf),
    /// The SDK is not where it should be.
    NoSdk(Vec<PathBuf>),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
}

impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProjectError::Name(name) => {
                write!(f, "\"{name}\" is no name of a policy: 1 to 31 small letters, digits and `-`, a letter first")
            }
            ProjectError::Exists(path) => write!(f, "{}: is there already, and is left as it is", path.display()),
            ProjectError::NoSdk(sought) => {
                let sought: Vec<String> = sought.iter().map(|path| path.display().to_string()).collect();
                write!(
                    f,
                    "the SDK is not in {}: say --sdk DIRECTORY, that of the crate `lockstep-policy`",
                    sought.join(" nor in ")
                )
            }
            ProjectError::Write(path, error) => write!(f, "{}: cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for ProjectError {}

/// Where packages install the SDK.
pub const INSTALLED: &str = "/usr/share/lockstep/sdk/lockstep-policy";

/// The example in C is the template: what is shown is what is begun with.
const C: [(&str, &str); 6] = [
    ("policy.c", include_str!("../../../../plugins/example-c/policy.c")),
    ("Makefile", include_str!("../../../../plugins/example-c/Makefile")),
    ("scenarios/W1-failover.txt", include_str!("../../../../plugins/example-c/scenarios/W1-failover.txt")),
    (
        "scenarios/W1-other-side-away.txt",
        include_str!("../../../../plugins/example-c/scenarios/W1-other-side-away.txt"),
    ),
    ("scenarios/W2-order.txt", include_str!("../../../../plugins/example-c/scenarios/W2-order.txt")),
    ("scenarios/W3-nobody.txt", include_str!("../../../../plugins/example-c/scenarios/W3-nobody.txt")),
];

const HEADER: &str = include_str!("../../include/lockstep_policy.h");

const RUST: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../templates/rust/Cargo.toml.txt")),
    ("Makefile", include_str!("../../templates/rust/Makefile.txt")),
    ("src/lib.rs", include_str!("../../templates/rust/src/lib.rs.txt")),
    ("scenarios/W1-failover.txt", include_str!("../../templates/rust/scenarios/W1-failover.txt")),
    ("scenarios/W2-order.txt", include_str!("../../templates/rust/scenarios/W2-order.txt")),
];

/// Makes the directory `NAME` in `under`. Where the SDK lies matters to Rust only: the given place, else the installed one.
pub fn create(under: &Path, name: &str, language: Language, sdk: Option<&Path>) -> Result<PathBuf, ProjectError> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if name.len() > 31 || !begins_well || !name.chars().all(sound) {
        return Err(ProjectError::Name(name.to_owned()));
    }
    let project = under.join(name);
    if project.exists() {
        return Err(ProjectError::Exists(project));
    }
    let file_name = name.replace('-', "_");
    match language {
        Language::C => {
            for (path, text) in C {
                let text = text.replace("example-c", name).replace("example_c", &file_name);
                write(&project.join(path), &text)?;
            }
            write(&project.join("lockstep_policy.h"), HEADER)?;
            write(&project.join(".gitignore"), "*.so\n")?;
        }
        Language::Rust => {
            let sdk = find_sdk(sdk)?;
            for (path, text) in RUST {
                let text = text.replace("@NAME@", name).replace("@FILE@", &file_name);
                write(&project.join(path), &text.replace("@SDK@", &sdk.display().to_string()))?;
            }
            write(&project.join(".gitignore"), "target\n")?;
            // An installed SDK brings the crates that it needs: then nothing is fetched.
            let vendored = sdk.parent().map(|parent| parent.join("vendor")).filter(|vendor| vendor.is_dir());
            if let Some(vendor) = vendored {
                let text = format!(
                    "[source.crates-io]\nreplace-with = \"vendored\"\n\n[source.vendored]\ndirectory = \"{}\"\n",
                    vendor.display()
                );
                write(&project.join(".cargo/config.toml"), &text)?;
            }
        }
    }
    Ok(project)
}

fn find_sdk(given: Option<&Path>) -> Result<PathBuf, ProjectError> {
    let sought = given.map_or_else(|| PathBuf::from(INSTALLED), Path::to_owned);
    let found = sought.canonicalize().ok().filter(|sdk| sdk.join("Cargo.toml").is_file());
    found.ok_or(ProjectError::NoSdk(vec![sought]))
}

fn write(path: &Path, text: &str) -> Result<(), ProjectError> {
    let failed = |error| ProjectError::Write(path.to_owned(), error);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
