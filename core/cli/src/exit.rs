//! How a verb ends: `--help` names the codes.

use lockstep_edge::admin::client::ClientError;
use std::fmt::Display;

/// A verb that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What is wrong and what to do; empty when it has been said already.
    pub text: String,
}

impl Failure {
    const FAILED: u8 = 1;
    const NO_EDGE: u8 = 3;
    const NOT_CONFIRMED: u8 = 4;

    /// Refused, or begun and not achieved.
    pub fn failed(text: impl Into<String>) -> Failure {
        Failure { code: Failure::FAILED, text: text.into() }
    }

    /// The policy asks, and nobody said yes.
    pub fn not_confirmed(text: impl Into<String>) -> Failure {
        Failure { code: Failure::NOT_CONFIRMED, text: text.into() }
    }

    /// An error that is a sentence of its own.
    pub fn from_error(error: impl Display) -> Failure {
        Failure::failed(error.to_string())
    }

    /// An error with its causes.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub fn from_verdict(error: anyhow::Error) -> Failure {
        Failure::failed(format!("{error:#}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match error {
            ClientError::NoEdge { .. } | ClientError::NoAnswer { .. } | ClientError::Foreign { .. } => Failure::NO_EDGE,
            _ => Failure::FAILED,
        };
        Failure { code, text: error.to_string() }
    }
}
