//! Hot: the relay protocol over quinn: a thin shell around the session.
//!
//! The dialler subscribes ([`Peer`]), the acceptor serves ([`serve`]); a node that does both does
//! it on two connections. One control stream carries messages, each group its own unidirectional
//! stream. Everything a peer can make us hold is bounded here, in the session or in the wire
//! format; a peer that breaks the rules loses its own connection and nothing else. Endpoints,
//! certificates and idle timeouts are transport's.

mod parity;
mod peer;
mod receive;
mod send;
mod serve;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::track;
use crate::wire::{self, Close, MAX_MESSAGE, Message, Messages, Refusal, Start};

pub use crate::session::Announced;
pub use peer::{PathStats, Peer, SubscribeError, Subscription, Why};
pub use serve::serve;

/// The name in every node's certificate, asked for when dialling.
pub const SERVER_NAME: &str = "node.weir";

/// A stream as it is served to a peer.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its groups.
    pub track: track::Consumer,
    /// The nodes it came through, the origin first, this node not among them; empty at the origin.
    pub hops: Vec<String>,
    /// What keeps the stream coming here, if anything must.
    pub lease: Option<Lease>,
}

/// Held while a peer is fed; dropped when it unsubscribes, is gone or has had the last group.
pub type Lease = Arc<dyn Any + Send + Sync>;

/// A future in a box, as trait objects need it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who has streams to serve.
pub trait Source: Send + Sync + 'static {
    /// The stream's groups, for the nodes in `hops`: those that will get it from here, the
    /// subscriber last, who want them from `start`.
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        hops: &'a [String],
        start: Start,
    ) -> Boxed<'a, Result<Served, Refusal>>;

    /// The streams that peers are told of.
    fn announced(&self) -> watch::Receiver<Arc<Vec<Announced>>>;
}

/// Why a connection ended or never came to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot dial.
    #[error("cannot dial: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The connection was lost, or closed by the peer.
    #[error("connection lost: {0}")]
    Lost(ConnectionError),
    /// The peer broke the protocol.
    #[error("protocol broken: {0}")]
    Protocol(wire::Error),
    /// The peer said something out of turn.
    #[error("protocol broken: message out of turn")]
    OutOfTurn,
    /// No version in common.
    #[error("no version in common")]
    Version,
    /// The peer did not say or take something in time.
    #[error("peer too slow")]
    Timeout,
    /// A task of ours failed.
    #[error("task failed: {0}")]
    Task(tokio::task::JoinError),
    /// The connection is not needed any more.
    #[error("closed")]
    Done,
}

/// How long a peer may take to make room for a control message.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// What a connection may buffer in each direction: 1 Gbit/s over 130 ms.
const WINDOW: u32 = 16 << 20;

/// The stream of messages.
struct Control {
    send: SendStream,
    recv: RecvStream,
    messages: Messages,
}

impl Control {
    fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self {
            send,
            recv,
            messages: Messages::default(),
        }
    }

    /// The next message. Cancel-safe.
    async fn read(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.messages.take().map_err(Error::Protocol)? {
                return Ok(message);
            }
            match self.recv.read_chunk(MAX_MESSAGE, true).await {
                Ok(Some(chunk)) => self.messages.push(&chunk.bytes),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(lost(error)),
                Ok(None) => return Err(Error::Done),
                Err(_) => return Err(Error::OutOfTurn),
            }
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        match timeout(WRITE_WITHIN, self.send.write_chunk(bytes)).await {
            Err(_) => Err(Error::Timeout),
            Ok(Err(quinn::WriteError::ConnectionLost(error))) => Err(lost(error)),
            Ok(Err(_)) => Err(Error::OutOfTurn),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Lets the peer read the last message before the connection closes.
    async fn finish(&mut self) {
        // Neither an error nor a peer that does not read changes what comes next: the close.
        let _ = self.send.finish();
        let _ = timeout(WRITE_WITHIN, self.send.stopped()).await;
    }
}

/// What the end of a connection means.
fn lost(error: ConnectionError) -> Error {
    let code = match &error {
        ConnectionError::ApplicationClosed(by_peer) => by_peer.error_code.into_inner(),
        ConnectionError::LocallyClosed => Close::Done as u64,
        _ => return Error::Lost(error),
    };
    match code {
        code if code == Close::Done as u64 => Error::Done,
        code if code == Close::Version as u64 => Error::Version,
        _ => Error::Lost(error),
    }
}

/// What the session's wish to close means.
fn closed(close: Close) -> Error {
    match close {
        Close::Done => Error::Done,
        Close::Protocol => Error::OutOfTurn,
        Close::Version => Error::Version,
        Close::Timeout => Error::Timeout,
    }
}

/// Closes the connection and tells the peer why.
fn close(connection: &Connection, error: &Error) {
    let code = match error {
        Error::Protocol(_) | Error::OutOfTurn => Close::Protocol,
        Error::Version => Close::Version,
        Error::Timeout => Close::Timeout,
        Error::Done | Error::Lost(_) | Error::Connect(_) | Error::Task(_) => Close::Done,
    };
    connection.close(VarInt::from_u32(code as u32), error.to_string().as_bytes());
}

/// Waits for the session's deadline, for ever without one.
async fn until(wake: Option<std::time::Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(Instant::from_std(at)).await,
        None => std::future::pending().await,
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
