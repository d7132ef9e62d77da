//! Sans-IO: what a token says, and whether that allows what its bearer attempts.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Refusal, SKEW_S};
use crate::node::{NodeId, check_name, shortened};
use crate::plan::MAX_RUNGS;
use crate::region::Region;
use crate::stream::StreamKey;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The streams it is for.
    pub stream: Pattern,
    /// What it allows.
    pub action: Action,
    /// Unix time from which it is void. 0, as when left out, is refused.
    #[serde(rename = "exp", default, deserialize_with = "numeric_date")]
    pub exp_s: u64,
    /// Unix time before which it is void.
    #[serde(
        rename = "nbf",
        default,
        deserialize_with = "numeric_date",
        skip_serializing_if = "is_zero"
    )]
    pub nbf_s: u64,
    /// The edges it is for; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<Vec<NodeId>>,
    /// Edges that a viewer may be sent on to when the one that it comes to is full, best first, where
    /// the token is good at all.
    #[serde(rename = "alt", default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<NodeId>,
    /// The client addresses it is for; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpNet>,
    /// An entitlement for logs and hooks, opaque to Weir.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The viewer's session, at most [`MAX_SID`] of `A-Z a-z 0-9 _ -`: whoever shows one of the
    /// same name is the same viewer.
    #[serde(
        default,
        deserialize_with = "session_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub sid: Option<String>,
    /// Where the viewer is, as the scheduler that redirected it saw it; edges count by it. What
    /// others write there and is no region counts as none.
    #[serde(
        rename = "rgn",
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub region: Option<Region>,
    /// The policy by which the scheduler sent the viewer; edges count by it, for caps.
    #[serde(rename = "pol", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether a player that joins by it is not to be offered the stream's top rung, because the
    /// edge is nearly full.
    #[serde(rename = "low", default, skip_serializing_if = "is_false")]
    pub sheds_top: bool,
}

/// Longest session id: room for a UUID or a hash of somebody else's.
pub const MAX_SID: usize = 64;

/// Whether a text can name a session.
pub fn is_sid(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_SID).contains(&text.len()) && text.bytes().all(plain)
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To push the stream.
    Publish,
    /// To watch it.
    Play,
}

/// What the bearer of a token attempts, and where.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What to do.
    pub action: Action,
    /// With which stream.
    pub stream: &'a StreamKey,
    /// At which node; none where a token for any edges is welcome, as at a scheduler.
    pub node: Option<&'a NodeId>,
    /// From where.
    pub client: IpAddr,
}

impl Claims {
    /// Leave for an action until a Unix time, with no further limit.
    pub fn new(stream: Pattern, action: Action, exp_s: u64) -> Self {
        Self {
            stream,
            action,
            exp_s,
            nbf_s: 0,
            edges: None,
            others: Vec::new(),
            client: None,
            label: None,
            sid: None,
            region: None,
            policy: None,
            sheds_top: false,
        }
    }

    /// Whether these claims allow the attempt at that Unix time.
    pub(super) fn allow(&self, what: &Attempt<'_>, now_s: u64) -> Result<(), Refusal> {
        if self.exp_s == 0 {
            return Err(Refusal::NoExpiry);
        }
        if now_s >= self.exp_s.saturating_add(SKEW_S) {
            return Err(Refusal::Expired);
        }
        if now_s.saturating_add(SKEW_S) < self.nbf_s {
            return Err(Refusal::NotYet);
        }
        if self.action != what.action {
            return Err(Refusal::Action);
        }
        if !self.stream.matches(what.stream) {
            return Err(Refusal::Stream);
        }
        if let (Some(edges), Some(node)) = (&self.edges, what.node)
            && !edges.contains(node)
        {
            return Err(Refusal::Edge);
        }
        if self
            .client
            .is_some_and(|prefix| !prefix.contains(&what.client.to_canonical()))
        {
            return Err(Refusal::Client);
        }
        Ok(())
    }
}

/// The prefix that a token may be bound to: small enough that a neighbour's token is useless,
/// large enough that a client keeps it when its host part changes.
pub(super) fn prefix_of(client: IpAddr) -> IpNet {
    let client = client.to_canonical();
    let bits = if client.is_ipv4() { 24 } else { 48 };
    IpNet::new(client, bits)
        .expect("24 and 48 are prefix lengths")
        .trunc()
}

/// The streams a token is for: one, as `live/x`, all of an application, as `live/*`, or a few, as
/// `live/x,live/x_480`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Pattern {
    /// This one.
    One(StreamKey),
    /// All of this application.
    App(String),
    /// These: 2 to [`MAX_RUNGS`], each once.
    These(Vec<StreamKey>),
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a stream pattern: use app/name, app/* for all of an application, \
     or 2 to {MAX_RUNGS} of app/name with commas between"
)]
pub struct InvalidPattern(String);

impl Pattern {
    /// The pattern, if the text is one.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let pattern = match text.strip_suffix("/*") {
            Some(app) => check_name(app).ok().map(|()| Self::App(app.into())),
            None if text.contains(',') => these(text),
            None => StreamKey::parse(text).ok().map(Self::One),
        };
        pattern.ok_or_else(|| InvalidPattern(shortened(text)))
    }

    /// A stream with its rungs, as a plan has them: those beyond [`MAX_RUNGS`] are left out.
    pub fn with_rungs(stream: &StreamKey, rungs: &[StreamKey]) -> Self {
        let mut keys = vec![stream.clone()];
        for rung in rungs {
            if keys.len() < MAX_RUNGS && !keys.contains(rung) {
                keys.push(rung.clone());
            }
        }
        match keys.len() {
            1 => Self::One(stream.clone()),
            _ => Self::These(keys),
        }
    }

    /// Whether the stream is one of these.
    pub fn matches(&self, stream: &StreamKey) -> bool {
        match self {
            Self::One(key) => key == stream,
            Self::App(app) => app == stream.app(),
            Self::These(keys) => keys.contains(stream),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

impl From<StreamKey> for Pattern {
    fn from(key: StreamKey) -> Self {
        Self::One(key)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(key) => f.write_str(key.as_str()),
            Self::App(app) => write!(f, "{app}/*"),
            Self::These(keys) => keys.iter().enumerate().try_for_each(|(at, key)| {
                let comma = if at > 0 { "," } else { "" };
                write!(f, "{comma}{key}")
            }),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A list of streams, if the text is one.
fn these(text: &str) -> Option<Pattern> {
    let mut keys = Vec::new();
    for part in text.split(',') {
        let key = StreamKey::parse(part).ok()?;
        if keys.len() == MAX_RUNGS || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    Some(Pattern::These(keys))
}

fn session_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let sid = Option::<String>::deserialize(from)?;
    if sid.as_deref().is_some_and(|sid| !is_sid(sid)) {
        return Err(de::Error::custom("not a session id"));
    }
    Ok(sid)
}

fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Region>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_str().and_then(Region::parse))
}

/// A NumericDate (RFC 7519 section 2) in whole seconds: other signers write `1700000000.25` too.
fn numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    let seconds = number.as_u64().or_else(|| {
        let fraction = number
            .as_f64()
            .filter(|f| (0.0..u64::MAX as f64).contains(f));
        fraction.map(|f| f as u64)
    });
    seconds.ok_or_else(|| de::Error::custom("a time is seconds since 1970"))
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}
