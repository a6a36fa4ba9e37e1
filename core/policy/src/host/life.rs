//! What the journal says when an instance is put to work: enough to make the same one again.

use super::{Fingerprint, Snapshot};
use crate::Setup;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One life of a pair's policy: from an instance's making to its end. The events that follow in the journal are those that
/// it is handed. An instance that was made again as it was goes on with the same life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LifeRecord {
    /// Grows by one with each instance of the pair.
    pub life: u64,
    /// The policy's id.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Of the plugin's file.
    pub fingerprint: Fingerprint,
    /// The plugin's version of its snapshots' format.
    pub state_version: u32,
    /// What it was made from.
    pub setup: Setup,
    /// The seed that it was made with.
    pub seed: u64,
    /// The snapshot that it went on from; none when it began anew.
    pub restored: Option<Snapshot>,
    /// How many actions it counts as given before its first event.
    pub given: u64,
}

/// As the hexadecimal digits that people compare.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fingerprint: that is 64 hexadecimal digits")]
pub struct NotAFingerprint(String);

/// 64 hexadecimal digits.
impl std::str::FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, NotAFingerprint> {
        let refuse = || NotAFingerprint(text.chars().take(80).collect());
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| refuse())?;
        }
        Ok(Fingerprint(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let fingerprint = Fingerprint(std::array::from_fn(|index| u8::try_from(index * 7 % 256).unwrap()));
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        for text in ["", "0", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
