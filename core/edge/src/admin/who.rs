//! Who asks, and what he may do.

use super::token::Token;
use crate::config::UserConfig;
use sha2::{Digest, Sha256};

/// What moving roles and giving orders asks for. Reading needs no right but to be known.
pub(super) const OPERATE: &str = "operate";

/// What saying that a side does not run asks for, beside that.
pub(super) const UNSAFE: &str = "unsafe";

/// Somebody who is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// His name; none for the holder of the admin token, who says himself who he is.
    name: Option<String>,
    /// What he may do.
    pub rights: Vec<String>,
}

impl Who {
    /// Whom an `Authorization` header names, if anybody.
    pub fn of(authorization: &[u8], token: &Token, users: &[UserConfig]) -> Option<Who> {
        if token.allows(authorization) {
            return Some(Who { name: None, rights: vec!["all".to_owned()] });
        }
        let given: [u8; 32] = Sha256::digest(authorization.strip_prefix(b"Bearer ")?).into();
        // What is compared is a hash: how long the comparison takes says nothing of the token.
        let user = users.iter().find(|user| user.token == given)?;
        Some(Who { name: Some(user.name.clone()), rights: user.rights.clone() })
    }

    /// The name for the record: his own, or what the holder of the admin token says.
    pub fn name(&self, said: String) -> String {
        self.name.clone().unwrap_or(said)
    }

    /// Whether he has a right; else the sentence for him.
    pub fn may(&self, right: &str) -> Result<(), String> {
        if lockstep_policy::event::allowed(&self.rights, right) {
            return Ok(());
        }
        let name = self.name.as_deref().unwrap_or_default();
        Err(format!("user \"{name}\" has no right to \"{right}\": an `[[edge.users]]` entry gives rights"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_user_is_known_by_his_token_and_has_his_own_name_and_rights() {
        let directory = TempDir::new().unwrap();
        let token = Token::create(directory.path()).unwrap();
        let eva = UserConfig {
            name: "eva".into(),
            token: Sha256::digest("eva's token").into(),
            rights: vec!["remote-control".into()],
        };
        let users = [eva];
        let who = Who::of(b"Bearer eva's token", &token, &users).expect("she is known");
        assert_eq!(who.name("somebody else".into()), "eva");
        assert_eq!(who.may("remote-control"), Ok(()));
        assert!(who.may(OPERATE).unwrap_err().contains("user \"eva\" has no right to \"operate\""));
        for unknown in ["", "Bearer ", "Bearer adam's token", "eva's token"] {
            assert_eq!(Who::of(unknown.as_bytes(), &token, &users), None, "{unknown}");
        }
        let text = std::fs::read_to_string(directory.path().join(super::super::TOKEN_FILE)).unwrap();
        let holder = Who::of(format!("Bearer {text}").as_bytes(), &token, &users).expect("the admin token");
        assert_eq!((holder.name("adam".into()), holder.may(OPERATE)), ("adam".into(), Ok(())));
    }
}
