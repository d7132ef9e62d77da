//! Nodes: their names, places and what they can carry.
//!
//! A [`NodeId`] or [`Place`] that exists is valid: both are checked when parsed or deserialised.
//! How a node is doing is in [`crate::sample`]; what the scheduler thinks of it in [`crate::plan`].

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest node id, application or stream name: what DNS allows for a label, rounded up.
pub const MAX_NAME: usize = 64;

/// A node's name, unique in its cluster: 1 to 64 of `A-Z a-z 0-9 . _ -`, no `.` first, no `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id, if the text is a valid one.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_name(text).map(|()| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid name: use 1 to 64 of A-Z a-z 0-9 . _ - without a leading . or ..")]
pub struct InvalidName(String);

/// Checks one name: a node's, an application's or a stream's.
pub(crate) fn check_name(text: &str) -> Result<(), InvalidName> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let valid = (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('.')
        && !text.contains("..");
    if valid {
        Ok(())
    } else {
        Err(InvalidName(shortened(text)))
    }
}

/// The start of a refused text: errors are logged, and the text came from outside.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(2 * MAX_NAME).collect()
}

impl TryFrom<String> for NodeId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl FromStr for NodeId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A group of nodes with short ways between them, by a name as a [`NodeId`] has one: what comes
/// from far away comes to it once, through its hub.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Zone(Arc<str>);

impl Zone {
    /// The zone, if the text is a valid name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_name(text).map(|()| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Zone {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_str())
    }
}

/// What a node does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes streams in and serves edges.
    Origin,
    /// Serves viewers.
    Edge,
    /// Plans, and sends viewers to edges.
    Scheduler,
}

impl Role {
    /// The role as it stands in configuration, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Edge => "edge",
            Self::Scheduler => "scheduler",
        }
    }
}

/// Where a node stands. Distance to the viewer is measured from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedPlace")]
pub struct Place {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lon: f64,
    /// What people call it, for the map: `"Frankfurt"`.
    pub name: String,
    /// ISO 3166-1 alpha-2 country code: `"DE"`.
    pub country: Option<String>,
}

impl Place {
    /// How far another place is, as the square of the straight line through a globe of radius 1.
    pub fn chord(&self, other: &Self) -> f64 {
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let across = self.lat.to_radians().cos() * other.lat.to_radians().cos();
        4.0 * (half(self.lat - other.lat) + across * half(self.lon - other.lon))
    }
}

/// A place as written, before its coordinates are checked. Its comments are the operator's page.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Place")]
struct UncheckedPlace {
    /// Degrees north, -90 to 90.
    lat: f64,
    /// Degrees east, -180 to 180.
    lon: f64,
    /// What people call it, for the map: `"Frankfurt"`.
    #[serde(default)]
    name: String,
    /// Country, as two capital letters (ISO 3166): `"DE"`.
    #[serde(default)]
    country: Option<String>,
}

/// Why a place is not one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPlace {
    /// Off the globe, or not a number.
    #[error("lat must be -90 to 90 and lon -180 to 180 degrees, not {0}, {1}")]
    Coordinates(f64, f64),
    /// Not two letters.
    #[error("country must be a two-letter code such as \"DE\", not {0:?}")]
    Country(String),
}

impl TryFrom<UncheckedPlace> for Place {
    type Error = InvalidPlace;
    fn try_from(place: UncheckedPlace) -> Result<Self, InvalidPlace> {
        let UncheckedPlace {
            lat,
            lon,
            name,
            country,
        } = place;
        if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lon) {
            return Err(InvalidPlace::Coordinates(lat, lon));
        }
        let two_letters = |c: &String| c.len() == 2 && c.bytes().all(|b| b.is_ascii_uppercase());
        match country {
            Some(code) if !two_letters(&code) => Err(InvalidPlace::Country(shortened(&code))),
            country => Ok(Self {
                lat,
                lon,
                name,
                country,
            }),
        }
    }
}

/// What a node may carry before it refuses. Zero means no limit was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Bits per second towards viewers and other nodes.
    pub egress_bps: u64,
    /// Viewers at one time.
    pub viewers: u32,
}

/// A node as it introduces itself in each sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// Where viewers reach it: `https://edge1.example.com`, no slash at the end.
    pub public_url: String,
    /// Where other nodes reach its relay: `host:port`.
    pub relay: Option<String>,
    /// Whether the edges of its zone take streams through it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hub: bool,
    /// The zone it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Where operators reach its admin listener: `host:port`.
    pub admin: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// What it may carry.
    pub capacity: Capacity,
    /// The version of Weir that it runs.
    pub version: String,
}

impl Node {
    /// Whether edges can take streams through it as their hub.
    pub fn is_hub(&self) -> bool {
        self.hub && self.relay.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_are_checked_when_parsed_and_deserialised() {
        let rows = [
            ("edge-1", true),
            ("a", true),
            ("fra.edge_1", true),
            (&"x".repeat(64), true),
            (&"x".repeat(65), false),
            ("", false),
            (".", false),
            (".hidden", false),
            ("a..b", false),
            ("a/b", false),
            ("a b", false),
            ("a%2fb", false),
            ("é", false),
            ("a\n", false),
        ];
        for (text, valid) in rows {
            assert_eq!(NodeId::parse(text).is_ok(), valid, "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(
                serde_json::from_str::<NodeId>(&json).is_ok(),
                valid,
                "{text:?}"
            );
        }
    }

    #[test]
    fn refused_names_are_quoted_shortened() {
        let error = NodeId::parse(&"%".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 300);
    }

    #[test]
    fn places_stand_on_the_globe() {
        let rows = [
            (
                r#"{"lat": 50.1, "lon": 8.7, "name": "Frankfurt", "country": "DE"}"#,
                true,
            ),
            (r#"{"lat": -90, "lon": 180}"#, true),
            (r#"{"lat": 91, "lon": 0}"#, false),
            (r#"{"lat": 0, "lon": -181}"#, false),
            (r#"{"lat": 0}"#, false),
            (r#"{"lat": 0, "lon": 0, "country": "Germany"}"#, false),
            (r#"{"lat": 0, "lon": 0, "city": "x"}"#, false),
        ];
        for (json, valid) in rows {
            assert_eq!(serde_json::from_str::<Place>(json).is_ok(), valid, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_name_or_refused(text in ".{0,80}") {
            if let Ok(id) = NodeId::parse(&text) {
                proptest::prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
