//! One call of the configuration: an HTTP request with an expected answer, or a command that ends with status 0.

use super::program;
use crate::config::{CallConfig, CallTo};
use crate::probe::{HttpCall, Means};
use lockstep_pair::remote::Look;
use std::time::Duration;
use tokio::time::timeout;

/// What people are shown of an answer, in characters.
const SHOWN: usize = 200;

/// Makes a call, and waits for its end, bounded by its own timeout: what was answered when the answer confirms, else
/// why not. `variables` are for commands.
pub(crate) async fn make(
    call: &CallConfig,
    means: &Means,
    variables: &[(&'static str, String)],
) -> Result<String, String> {
    match &call.to {
        CallTo::Command(command) => match program::end(command, variables, call.timeout).await? {
            (Some(0), words) => Ok(words),
            (status, words) => Err(program::complaint(command, status, &words)),
        },
        CallTo::Http(http) => {
            let answered = timeout(call.timeout, answer(http, means)).await;
            let (status, body) = answered.unwrap_or_else(|_| Err(unanswered(http, call.timeout)))?;
            judge(http, status, &body)
        }
    }
}

/// Asks whether a side is active: an answer that confirms says that it is, any other answer that it is not.
pub(crate) async fn look(call: &CallConfig, means: &Means) -> Look {
    let answered = match &call.to {
        // Its statuses are its answers: 0 for yes, 1 for no, and any other for nothing.
        CallTo::Command(command) => return look_by_command(command, call.timeout).await,
        CallTo::Http(http) => {
            let answered = timeout(call.timeout, answer(http, means)).await;
            answered.unwrap_or_else(|_| Err(unanswered(http, call.timeout))).map(|(status, body)| (http, status, body))
        }
    };
    match answered {
        Err(why) => Look::Unseen(why),
        // A server that fails says nothing of its role.
        Ok((http, status, _)) if status >= 500 && !http.expect.contains(&status) => {
            Look::Unseen(format!("{} was answered with status {status}", http.uri))
        }
        Ok((http, status, body)) => match judge(http, status, &body) {
            Ok(_) => Look::Active,
            Err(_) => Look::Stopped,
        },
    }
}

async fn look_by_command(command: &[String], within: Duration) -> Look {
    match program::end(command, &[], within).await {
        Ok((Some(0), _)) => Look::Active,
        Ok((Some(1), _)) => Look::Stopped,
        Ok((status, words)) => Look::Unseen(program::complaint(command, status, &words)),
        Err(why) => Look::Unseen(why),
    }
}

fn unanswered(http: &HttpCall, within: Duration) -> String {
    format!("{} {} was not answered within {within:?}", http.method, http.uri)
}

async fn answer(http: &HttpCall, means: &Means) -> Result<(u16, String), String> {
    let answered = http.send(means).await;
    answered.map_err(|why| format!("{} {}: {why}", http.method, http.uri))
}

fn judge(http: &HttpCall, status: u16, body: &str) -> Result<String, String> {
    let text: String = body.trim().chars().take(SHOWN).collect();
    let expected = if http.expect.is_empty() { (200..300).contains(&status) } else { http.expect.contains(&status) };
    if !expected {
        return Err(format!("{} {} was answered with status {status}: {text}", http.method, http.uri));
    }
    if !http.says.is_empty() && !body.contains(&http.says) {
        return Err(format!("{} {} was answered without \"{}\": {text}", http.method, http.uri, http.says));
    }
    Ok(text)
}
