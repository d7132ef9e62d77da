//! Tokens: who may publish or watch what, until when; signed by one node or by the operator's own
//! application, checked by any other without asking anyone.
//!
//! A token is a compact JWT (RFC 7519) signed with HMAC-SHA-256 (`HS256`, RFC 7518 section 3.2)
//! whose header names the key (`kid`). Two keys are valid at a time: the first signs, both verify,
//! so that a key can be replaced while tokens of the old one are still about. The signature is
//! checked, in constant time, before a claim is read; the algorithm is never taken from the token.
//! Expiry limits joining, not watching. Claims unknown to us are ignored, as the RFC demands;
//! an unknown critical header is refused (RFC 7515 section 4.1.11).
//!
//! What a node demands by its configuration is [`gate`]'s; other vendors' signed URLs are not here.

mod claims;
pub mod gate;
#[cfg(test)]
mod tests;

use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

pub use claims::{Action, Attempt, Claims, InvalidPattern, MAX_SID, Pattern, is_sid};
pub use gate::{Audience, Config, Demand, Gate, KeyConfig};

/// Longest token: a dozen edge names fit, and a URL with it stays below what proxies take (8 KiB).
pub const MAX_BYTES: usize = 2048;

/// By how much clocks of signer and verifier may differ.
pub const SKEW_S: u64 = 30;

/// Keys valid at a time: the new one and the one it replaces.
pub const MAX_KEYS: usize = 2;

/// Shortest key: RFC 7518 section 3.2 demands as many bits as the hash has.
pub const MIN_SECRET_BYTES: usize = 32;

/// Longest key name, so that a header leaves room for the claims.
const MAX_KID: usize = 64;

/// The keys that sign and verify.
#[derive(Clone, Debug)]
pub struct Keys {
    /// 1 to [`MAX_KEYS`], the signing one first.
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    kid: String,
    hmac: hmac::Key,
    /// The encoded header and the dot behind it: the same in every token of this key.
    head: String,
}

/// The header of a token (RFC 7515 section 4.1).
#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default)]
    kid: String,
    #[serde(default, skip_serializing)]
    crit: Option<serde_json::Value>,
}

/// Why keys were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None, or more than can be valid at a time.
    #[error("{0} token keys: name one, or two while the second is being replaced by the first")]
    Count(usize),
    /// Two of one name, or a name that is empty or too long.
    #[error("token key kid {0:?}: use 1 to {MAX_KID} bytes, different for each key")]
    Kid(String),
    /// Too short to be safe.
    #[error(
        "the secret of token key {0:?} is shorter than {MIN_SECRET_BYTES} bytes: \
         make one with `openssl rand -hex 32`"
    )]
    Secret(String),
    /// Nothing to derive a key from.
    #[error("no token keys: set [cluster] secret, or [tokens] keys")]
    NoSecret,
}

impl Keys {
    /// The keys of these names (`kid`) and secrets, the signing one first.
    pub fn new<'a>(keys: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, KeyError> {
        let mut all: Vec<Key> = Vec::new();
        for (kid, secret) in keys {
            if !(1..=MAX_KID).contains(&kid.len()) || all.iter().any(|k| k.kid == kid) {
                return Err(KeyError::Kid(kid.chars().take(MAX_KID).collect()));
            }
            if secret.len() < MIN_SECRET_BYTES {
                return Err(KeyError::Secret(kid.into()));
            }
            all.push(Key::new(kid, hmac::Key::new(hmac::HMAC_SHA256, secret)));
        }
        match all.len() {
            1..=MAX_KEYS => Ok(Self { keys: all }),
            count => Err(KeyError::Count(count)),
        }
    }

    /// The one key, named `cluster`, that every node of a cluster derives from its secret
    /// (HKDF-SHA-256, RFC 5869).
    pub fn derive(cluster_secret: &str) -> Result<Self, KeyError> {
        if cluster_secret.is_empty() {
            return Err(KeyError::NoSecret);
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"weir");
        let prk = salt.extract(cluster_secret.as_bytes());
        let okm = prk.expand(&[b"token HS256"], hmac::HMAC_SHA256);
        let key = hmac::Key::from(okm.expect("a hash's length is in HKDF's range"));
        Ok(Self {
            keys: vec![Key::new("cluster", key)],
        })
    }

    /// The claims as a token, signed with the first key.
    pub fn sign(&self, claims: &Claims) -> String {
        let key = &self.keys[0];
        let body = serde_json::to_vec(claims).expect("claims are text and numbers");
        let mut token = String::with_capacity(key.head.len() + body.len() * 4 / 3 + 48);
        token.push_str(&key.head);
        URL_SAFE_NO_PAD.encode_string(body, &mut token);
        let tag = hmac::sign(&key.hmac, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag, &mut token);
        token
    }

    /// The claims of a token that is genuine, valid at that Unix time, and allows the attempt.
    pub fn verify(&self, token: &str, what: &Attempt<'_>, now_s: u64) -> Result<Claims, Refusal> {
        let claims = self.authenticate(token)?;
        claims.allow(what, now_s)?;
        Ok(claims)
    }

    /// The claims of a token that one of the keys signed.
    fn authenticate(&self, token: &str) -> Result<Claims, Refusal> {
        if token.len() > MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        let (signed, tag) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let header: Header = decode_json(header)?;
        if header.alg != "HS256" {
            return Err(Refusal::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        let key = self
            .keys
            .iter()
            .find(|k| k.kid == header.kid)
            .ok_or(Refusal::UnknownKey)?;
        let tag = URL_SAFE_NO_PAD
            .decode(tag)
            .map_err(|_| Refusal::Malformed)?;
        hmac::verify(&key.hmac, signed.as_bytes(), &tag).map_err(|_| Refusal::Signature)?;
        decode_json(body)
    }
}

impl Key {
    fn new(kid: &str, hmac: hmac::Key) -> Self {
        let typ = Some("JWT".into());
        let header = Header {
            alg: "HS256".into(),
            typ,
            kid: kid.into(),
            crit: None,
        };
        let json = serde_json::to_vec(&header).expect("a header is text");
        Self {
            kid: kid.into(),
            hmac,
            head: URL_SAFE_NO_PAD.encode(json) + ".",
        }
    }
}

/// A session id that nobody can guess: 128 random bits.
pub fn new_sid() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<u128>().to_ne_bytes())
}

fn decode_json<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Malformed)
}

/// Why a token, or its absence, was refused. The answer to the outside is a plain 403; the reason
/// is for the log and the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Refusal {
    /// None was given where one is required.
    Missing,
    /// Over [`MAX_BYTES`].
    TooLong,
    /// Not three parts of base64 and JSON, or a claim of the wrong form.
    Malformed,
    /// Any algorithm but HS256, `none` among them.
    Algorithm,
    /// No key of that `kid`, or no `kid`.
    UnknownKey,
    /// The signature is not ours.
    Signature,
    /// No `exp`.
    NoExpiry,
    /// Past `exp` and the skew.
    Expired,
    /// Before `nbf`, less the skew.
    NotYet,
    /// For another action.
    Action,
    /// For other streams.
    Stream,
    /// For other edges.
    Edge,
    /// For another client.
    Client,
    /// Shown as a session, and names none.
    NoSession,
}

impl Refusal {
    /// The reason as the counter's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::UnknownKey => "token_unknown_key",
            Self::Signature => "token_signature",
            Self::NoExpiry => "token_no_expiry",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::Action => "token_action",
            Self::Stream => "token_stream",
            Self::Edge => "token_edge",
            Self::Client => "token_client",
            Self::NoSession => "token_no_session",
        }
    }
}
