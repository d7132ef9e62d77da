//! The gate of a node: which actions need a token, by configuration, and the keys to check it.
//!
//! A token that is presented is always checked, also where none is needed: a wrong one is never
//! better than none.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::claims::prefix_of;
use super::{Action, Attempt, Claims, KeyError, Keys, Pattern, Refusal};
use crate::config::Secret;
use crate::stream::StreamKey;

/// `[tokens]`: who may publish and who may watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Tokens")]
pub struct Config {
    /// Keys that sign and verify tokens: the first signs, both verify.
    /// Leave this out and every node derives the same key from `[cluster] secret`.
    /// To replace a key, add the new one second on all nodes, then put it first, and remove the old
    /// one when the last token signed with it has expired.
    pub keys: Vec<KeyConfig>,
    /// `"required"`: a publisher must present a token.
    /// `"open"`: whoever reaches the port may publish.
    pub publish: Demand,
    /// `"redirected"`: an edge demands a token, and the scheduler gives one to whoever asks it.
    /// `"required"`: a viewer must bring a token to the scheduler, too.
    /// `"open"`: anybody may watch at any edge.
    pub play: Audience,
    /// How long a viewer may take from being redirected to joining the edge.
    /// It limits joining, not watching.
    pub ttl: transport::config::Duration,
    /// How long an HLS viewer may watch from joining on, at any edges: its session, which all
    /// playlist addresses carry, ends then and the player must ask again.
    pub session_max: transport::config::Duration,
    /// Bind the token of a redirect to the viewer's network (IPv4 /24, IPv6 /48).
    /// It stops the sharing of links, and it refuses viewers who change networks on the way or
    /// reach the scheduler by IPv6 and the edge by IPv4.
    pub bind_client: bool,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenKey")]
pub struct KeyConfig {
    /// Its name, in each token that it signed (the JWT header `kid`).
    pub kid: String,
    /// At least 32 bytes of text: make one with `openssl rand -hex 32`.
    /// The bytes of the text itself are the key; your own application may sign with the same.
    pub secret: Secret,
}

/// Whether a publisher needs a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// It is.
    Required,
    /// It is not.
    Open,
}

/// Who may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Whoever brings a token.
    Required,
    /// Whoever was redirected by a scheduler, or brings a token.
    Redirected,
    /// Everybody.
    Open,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            publish: Demand::Required,
            play: Audience::Redirected,
            ttl: transport::config::Duration::from_secs(300),
            session_max: transport::config::Duration::from_secs(24 * 3600),
            bind_client: false,
        }
    }
}

/// What a node demands of publishers and viewers.
#[derive(Clone, Debug)]
pub struct Gate {
    keys: Keys,
    publish: Demand,
    play: Audience,
    ttl: Duration,
    session_max: Duration,
    bind_client: bool,
}

impl Gate {
    /// The gate that the configuration describes.
    pub fn load(config: &Config, cluster_secret: &Secret) -> Result<Self, KeyError> {
        let keys = match config.keys.as_slice() {
            [] => Keys::derive(cluster_secret.expose())?,
            keys => Keys::new(
                keys.iter()
                    .map(|k| (k.kid.as_str(), k.secret.expose().as_bytes())),
            )?,
        };
        let &Config {
            publish,
            play,
            ttl,
            session_max,
            bind_client,
            ..
        } = config;
        Ok(Self {
            keys,
            publish,
            play,
            ttl: ttl.get(),
            session_max: session_max.get(),
            bind_client,
        })
    }

    /// Whether the attempt is allowed, and the claims of the token if there was one.
    pub fn check(
        &self,
        token: Option<&str>,
        what: &Attempt<'_>,
        now_s: u64,
    ) -> Result<Option<Claims>, Refusal> {
        let needed = match what.action {
            Action::Publish => self.publish == Demand::Required,
            Action::Play => match self.play {
                Audience::Required => true,
                Audience::Redirected => what.node.is_some(),
                Audience::Open => false,
            },
        };
        match token {
            Some(token) => self.keys.verify(token, what, now_s).map(Some),
            None if needed => Err(Refusal::Missing),
            None => Ok(None),
        }
    }

    /// The claims for a viewer who is about to be redirected: valid for the configured time, and
    /// bound to the viewer's network if so configured. Edges are for the caller to name.
    pub fn redirect_claims(&self, stream: &StreamKey, client: IpAddr, now_s: u64) -> Claims {
        let exp_s = now_s.saturating_add(self.ttl.as_secs());
        let client = self.bind_client.then(|| prefix_of(client));
        Claims {
            client,
            ..Claims::new(stream.clone().into(), Action::Play, exp_s)
        }
    }

    /// The claims of a new HLS session: leave to play these streams at any edge until the
    /// session's own maximum, with the limits of the token that it joined by.
    /// `sid` is [`super::new_sid`]'s or passed [`super::is_sid`].
    pub fn session_claims(
        &self,
        streams: Pattern,
        sid: String,
        join: Option<&Claims>,
        now_s: u64,
    ) -> Claims {
        debug_assert!(super::is_sid(&sid));
        let exp_s = now_s.saturating_add(self.session_max.as_secs());
        Claims {
            others: join.and_then(|join| join.edges.clone()).unwrap_or_default(),
            client: join.and_then(|join| join.client),
            label: join.and_then(|join| join.label.clone()),
            region: join.and_then(|join| join.region),
            policy: join.and_then(|join| join.policy.clone()),
            sid: Some(sid),
            ..Claims::new(streams, Action::Play, exp_s)
        }
    }

    /// The claims of a token shown as a session (`?session=`), whose `sid` is there.
    pub fn session(&self, token: &str, what: &Attempt<'_>, now_s: u64) -> Result<Claims, Refusal> {
        let claims = self.keys.verify(token, what, now_s)?;
        match claims.sid {
            Some(_) => Ok(claims),
            None => Err(Refusal::NoSession),
        }
    }

    /// The claims as a token.
    pub fn sign(&self, claims: &Claims) -> String {
        self.keys.sign(claims)
    }
}
