//! Who may publish and who may play here, whatever protocol they came by.
//!
//! Asks nobody: the token is checked with the cluster's keys, kicks come with the last plan. What
//! is refused is counted by reason; the peer is told no more than it needs.

use std::net::SocketAddr;
use std::sync::Arc;

use cluster::node::NodeId;
use cluster::plan::Plan;
use cluster::stream::{InvalidKey, StreamKey};
use cluster::token::{self, Action, Attempt, Gate};
use relay::track;
use tokio::sync::watch;
use transport::clock;
use transport::drain::Drain;

use crate::live::{self, Publisher, Registry};
use crate::meter::Meter;

/// The door of an origin.
#[derive(Debug)]
pub struct Admission {
    /// This node.
    pub node: NodeId,
    /// What tokens must say.
    pub gate: Gate,
    /// The newest plan, for its kicks.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// The streams.
    pub registry: Arc<Registry>,
    /// Counts refusals.
    pub meter: Arc<Meter>,
    /// Once started, no publisher is taken.
    pub drain: Drain,
}

/// Somebody who asks to publish or play.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// `app/name`, as sent.
    pub stream: &'a str,
    /// The token it presents.
    pub token: Option<&'a str>,
    /// Where it is.
    pub address: SocketAddr,
}

/// Why a caller is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not a stream's name.
    #[error(transparent)]
    Name(#[from] InvalidKey),
    /// The token is missing or does not allow it.
    #[error("not allowed: the token is missing, expired or not for this stream")]
    Token(#[from] token::Refusal),
    /// An operator cut the stream off.
    #[error("an operator stopped this stream; try again later")]
    Kicked,
    /// The node is about to stop.
    #[error("this origin is being stopped; use another one")]
    Draining,
    /// The stream is taken, or the node is full.
    #[error(transparent)]
    Claim(#[from] live::Refused),
    /// Nobody publishes it.
    #[error("nobody publishes this stream here")]
    NotFound,
}

impl Refusal {
    /// The reason as the counter's label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Token(refusal) => refusal.as_str(),
            Self::Kicked => "kicked",
            Self::Draining => "draining",
            Self::Claim(refused) => refused.as_str(),
            Self::NotFound => "not_found",
        }
    }
}

impl Admission {
    /// Makes the caller the stream's publisher.
    pub fn publish(&self, caller: &Caller<'_>) -> Result<Publisher, Refusal> {
        self.counted(caller, self.try_publish(caller))
    }

    /// Gives the caller the stream's track.
    pub fn play(&self, caller: &Caller<'_>) -> Result<track::Consumer, Refusal> {
        self.counted(caller, self.try_play(caller))
    }

    fn try_publish(&self, caller: &Caller<'_>) -> Result<Publisher, Refusal> {
        let key = StreamKey::parse(caller.stream)?;
        self.check_token(caller, &key, Action::Publish)?;
        if self.drain.is_started() {
            return Err(Refusal::Draining);
        }
        if self.plan.borrow().is_kicked(&key, clock::unix_ms()) {
            return Err(Refusal::Kicked);
        }
        Ok(self.registry.claim(&key, caller.address.to_string())?)
    }

    fn try_play(&self, caller: &Caller<'_>) -> Result<track::Consumer, Refusal> {
        let key = StreamKey::parse(caller.stream)?;
        self.check_token(caller, &key, Action::Play)?;
        self.registry.track(&key).ok_or(Refusal::NotFound)
    }

    fn check_token(
        &self,
        caller: &Caller<'_>,
        stream: &StreamKey,
        action: Action,
    ) -> Result<(), Refusal> {
        let (node, client) = (Some(&self.node), caller.address.ip());
        let attempt = Attempt {
            action,
            stream,
            node,
            client,
        };
        self.gate
            .check(caller.token, &attempt, clock::unix_ms() / 1000)?;
        Ok(())
    }

    fn counted<T>(&self, caller: &Caller<'_>, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        answer.inspect_err(|refusal| {
            self.meter.refused(refusal.as_str());
            let (stream, peer, reason) = (caller.stream, caller.address, refusal.as_str());
            tracing::info!(stream, %peer, reason, "refused");
        })
    }
}
