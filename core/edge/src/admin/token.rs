//! The admin token: whoever can read its file may order switches.

use super::TOKEN_FILE;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A token of 256 bits, as text.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// A new token in the state directory, readable by the edge's user only. It replaces the former one at once, so
    /// that no reader finds half of it.
    pub fn create(directory: &Path) -> io::Result<Token> {
        let text = random()?;
        let fresh = directory.join(format!("{TOKEN_FILE}.new"));
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&fresh, directory.join(TOKEN_FILE))?;
        Ok(Token(text))
    }

    /// Whether an `Authorization` header carries it. Takes the same time however much of it is right.
    pub fn allows(&self, authorization: &[u8]) -> bool {
        let Some(given) = authorization.strip_prefix(b"Bearer ") else { return false };
        let differ = given.iter().zip(self.0.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
        given.len() == self.0.len() && std::hint::black_box(differ) == 0
    }
}

/// A token for somebody, and its SHA-256 for the configuration.
pub fn new_token() -> io::Result<(String, String)> {
    let text = random()?;
    let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((text, hash))
}

fn random() -> io::Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    #[test]
    fn only_its_owner_can_read_it_and_only_all_of_it_is_enough() {
        let directory = TempDir::new().unwrap();
        let former = Token::create(directory.path()).unwrap();
        let token = Token::create(directory.path()).unwrap();
        let file = directory.path().join(TOKEN_FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.len(), 64);
        assert!(token.allows(format!("Bearer {text}").as_bytes()));
        assert!(!former.allows(format!("Bearer {text}").as_bytes()));
        for wrong in ["", "Bearer ", &text, &format!("Bearer {}", &text[1..]), &format!("Bearer {text}0")] {
            assert!(!token.allows(wrong.as_bytes()), "{wrong}");
        }
    }
}
