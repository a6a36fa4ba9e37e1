//! `[[edge.users]]`: who may speak to the admin API beside the holder of the admin token, and what each may do.

use super::UserConfig;
use super::table::Table;

const NAME: &str = "a name of 1 to 64 letters, digits, `-`, `_`, `.` or `@`";
const HASH: &str = "64 hexadecimal digits: `lockstep user NAME` makes a token and prints them";
const RIGHT: &str = "words such as \"operate\" or \"remote-control\"";

pub(super) fn read(tables: Vec<Table<'_, '_>>) -> Vec<UserConfig> {
    let mut users: Vec<UserConfig> = Vec::new();
    for mut table in tables {
        let name = table.text("name");
        let hash = table.text("token_sha256");
        let rights = table.list::<String>("rights", RIGHT);
        match &name {
            None if !table.has("name") => table.missing("name", NAME),
            None => {}
            Some(name) if !is_name(&name.value) => {
                table.refuse(name.at, "name", format!("\"{}\" is not a name", name.value), NAME);
            }
            Some(name) if users.iter().any(|user| user.name == name.value) => {
                table.refuse(name.at, "name", format!("two users are called \"{}\"", name.value), "one entry for each");
            }
            Some(_) => {}
        }
        let token = hash.as_ref().and_then(|hash| digest(&hash.value));
        match &hash {
            None if !table.has("token_sha256") => table.missing("token_sha256", HASH),
            Some(hash) if token.is_none() => table.refuse(hash.at, "token_sha256", "is not a SHA-256", HASH),
            _ => {}
        }
        let rights = rights.map(|rights| rights.items.into_iter().map(|right| right.value).collect());
        table.finish();
        if let (Some(name), Some(token)) = (name, token) {
            users.push(UserConfig { name: name.value, token, rights: rights.unwrap_or_default() });
        }
    }
    users
}

fn is_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(sound)
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
