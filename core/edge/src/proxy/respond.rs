//! The listeners on which the edge itself answers balancers and monitors: GET and HEAD, one small answer each.

use super::answers::{Asked, Reply};
use super::client::{Client, Over};
use super::head;
use super::pair::PairProxy;
use super::settings::ListenSettings;
use lockstep_wire::clock;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::watch;

/// One client's connection, request after request.
pub(super) async fn respond(
    mut client: Client,
    pair: Arc<PairProxy>,
    settings: ListenSettings,
    mut closing: watch::Receiver<bool>,
) {
    let mut first = true;
    loop {
        let head = match client.next_head(first, &settings, &mut closing).await {
            Ok(head) => head,
            Err(Over::Quietly | Over::Http2) => return,
            Err(Over::With(answer)) => return client.refuse(&answer, &settings).await,
        };
        first = false;
        let stays = !*closing.borrow();
        let (reply, goes_on) = reply(&pair, &client.take(head.length), head.body, stays);
        let written = client.give(&reply, &settings).await;
        if !goes_on || !written {
            return;
        }
    }
}

/// What is said, and whether another request may follow.
fn reply(pair: &PairProxy, bytes: &[u8], body: head::Body, stays: bool) -> (Vec<u8>, bool) {
    let (asked, lasting) = match Asked::read(bytes) {
        Ok(read) => read,
        Err(reply) => return (reply.to_wire(false, false), false),
    };
    // What has a body would have to be read past it.
    let goes_on = stays && lasting && matches!(body, head::Body::Length(0));
    let is_head = asked.is_head;
    let shared = pair.shared();
    let lets_in = || shared.sessions.as_ref().map(|sessions| sessions.lets_in()).unwrap_or_default();
    let answer = shared.answers.answer(&asked, shared.table.served(clock::now(), lets_in));
    (answer.unwrap_or_else(Reply::not_found).to_wire(is_head, goes_on), goes_on)
}

/// The parameters of a query, decoded: `%41` is `A`, and `+` is a space.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(name, value)| (decoded(name), decoded(value)))
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset| bytes.get(at + offset).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits of 4 bits each.
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
                continue;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        let read: Vec<_> = parameters("mod=FT&side=a&&x&y=%41+b%2&z=%zz").collect();
        let plain: Vec<(&str, &str)> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(plain, [("mod", "FT"), ("side", "a"), ("x", ""), ("y", "A b%2"), ("z", "%zz")]);
    }
}
