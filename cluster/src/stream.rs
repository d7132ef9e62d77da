//! Streams: how they are named and what an origin tells about those on air.
//!
//! A [`StreamKey`] that exists is valid and can stand in a URL path or file name as it is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::{NodeId, check_name, shortened};

/// `app/name`: what a publisher pushes and viewers ask for. Both parts are names as for
/// [`NodeId`], so `..`, `//`, `%2f` and the like are never in one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct StreamKey(Arc<str>);

/// Why a text is not a stream key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a stream: use app/name, each 1 to 64 of A-Z a-z 0-9 . _ - \
     without a leading . or .."
)]
pub struct InvalidKey(String);

impl StreamKey {
    /// The key, if the text is `app/name` with two valid names.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let names = text.split_once('/');
        let valid = names.is_some_and(|(a, n)| check_name(a).is_ok() && check_name(n).is_ok());
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidKey(shortened(text)))
        }
    }

    /// The application: the part before the slash.
    pub fn app(&self) -> &str {
        self.parts().0
    }

    /// The name within the application: the part behind the slash.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').expect("parse saw the slash")
    }
}

impl TryFrom<String> for StreamKey {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        Self::parse(&text)
    }
}

impl FromStr for StreamKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::parse(text)
    }
}

impl Borrow<str> for StreamKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A stream on air, as its origin describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamRecord {
    /// Its key.
    pub key: StreamKey,
    /// The origin that takes it in.
    pub origin: NodeId,
    /// The origin's epoch of this stream; a higher one replaces a lower one.
    pub epoch: u64,
    /// When its first frame came, Unix time.
    pub started_ms: u64,
    /// Its video and audio.
    pub tracks: Vec<TrackRecord>,
    /// Bits per second taken in, over the last seconds.
    pub bitrate_bps: u64,
    /// Bits per second of its busiest segment lately; 0 until one has ended.
    #[serde(default)]
    pub peak_bps: u64,
    /// The publisher's address.
    pub publisher: String,
}

/// One track of a stream on air.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackRecord {
    /// The codec's short name: `h264`, `aac`.
    pub codec: String,
    /// RFC 6381 text for players: `avc1.64001f`.
    pub codec_string: String,
    /// Pixels; 0 for audio.
    pub width: u32,
    /// Pixels; 0 for audio.
    pub height: u32,
    /// Frames in a thousand seconds (29970); 0 when unknown, and for audio.
    #[serde(default)]
    pub frame_rate_milli: u32,
    /// Hertz; 0 for video.
    pub sample_rate: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_when_parsed_and_deserialised() {
        let long = format!("live/{}", "x".repeat(65));
        let rows = [
            ("live/x", true),
            ("a.b/c-d_e.f", true),
            ("live/x.flv", true),
            ("live", false),
            ("/x", false),
            ("live/", false),
            ("live//x", false),
            ("live/x/y", false),
            ("live/..", false),
            ("../x", false),
            ("live/a..b", false),
            ("live/.x", false),
            ("live%2fx", false),
            ("live/x%2fy", false),
            ("live/x?y", false),
            ("live/x y", false),
            ("live/*", false),
            ("", false),
            (&long, false),
        ];
        for (text, valid) in rows {
            assert_eq!(StreamKey::parse(text).is_ok(), valid, "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(
                serde_json::from_str::<StreamKey>(&json).is_ok(),
                valid,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_key_knows_its_parts() {
        let key = StreamKey::parse("live/x").unwrap();
        assert_eq!(
            (key.app(), key.name(), key.as_str()),
            ("live", "x", "live/x")
        );
        assert_eq!(serde_json::to_string(&key).unwrap(), r#""live/x""#);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_key_or_refused(text in ".{0,140}") {
            if let Ok(key) = StreamKey::parse(&text) {
                proptest::prop_assert_eq!(format!("{}/{}", key.app(), key.name()), text);
            }
        }
    }
}
