//! Connections that their service takes over whole, socket and all.
//!
//! hyper gives a socket up only after an upgrade, and runs bodies in the connection's own task. So
//! on a plain listener with a [`Taker`] the first head is read here: one that the taker wants goes
//! to it with the socket, any other to hyper with the bytes read. The head has to come within the
//! listener's time and size, whoever reads it. Leaves out TLS, whose records hyper's road writes.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use ::http::{Request, Response};
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{self, Connection, CountPanic};
use super::head::{Sight, look};
use super::metrics::Open;
use super::server::Limits;
use super::{Body, Incoming, Peer, reply};
use crate::limit::Permit;

/// Takes connections over by their first request.
pub trait Taker: Send + Sync + 'static {
    /// Whether to take the connection: asked for each GET over HTTP/1.x that has no body, no
    /// upgrade and no expectation.
    fn wants(&self, request: &Request<()>) -> bool;

    /// Serves the connection, in a task of the listener's drain. The request has its
    /// [`Peer`] among its extensions.
    fn take(self: Arc<Self>, request: Request<()>, taken: Taken)
    -> impl Future<Output = ()> + Send;
}

/// Takes nothing.
impl Taker for Infallible {
    fn wants(&self, _: &Request<()>) -> bool {
        match *self {}
    }

    async fn take(self: Arc<Self>, _: Request<()>, _: Taken) {
        match *self {}
    }
}

/// A connection that was taken over.
#[derive(Debug)]
pub struct Taken {
    /// Its socket. More than the request may have been read of it and dropped: the connection ends
    /// with the response.
    pub stream: TcpStream,
    /// Its place, to be held as long as the socket is open.
    pub place: Place,
}

impl Taken {
    /// Writes a response whose body is short and there at once, and ends the connection.
    pub async fn answer(self, response: Response<Body>) {
        reply::say(self.stream, self.place, response).await;
    }
}

/// A connection's place among those that the listener allows, given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Permit,
    _open: Open,
}

impl Place {
    pub(super) fn new(permit: Permit, open: Open) -> Self {
        Self {
            _permit: permit,
            _open: open,
        }
    }
}

/// Hands a plain connection to its taker, or else to hyper.
pub(super) async fn offer<S, F, K>(
    mut connection: Connection,
    mut stream: TcpStream,
    place: Place,
    service: S,
    taker: Arc<K>,
) where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
    K: Taker,
{
    let shared = Arc::clone(&connection.shared);
    let mut bytes = BytesMut::new();
    let reading = read(&mut stream, &mut bytes, &shared.limits);
    let read = tokio::select! {
        // Who has not asked yet when the drain starts is not waited for.
        () = shared.drain.started() => return,
        read = timeout(shared.limits.header_timeout, reading) => read,
    };
    match read {
        Err(_) => shared.stats.fail("idle"),
        Ok(Err(error)) => {
            shared.stats.fail("gone");
            tracing::debug!(peer = %connection.peer, %error, "connection failed");
        }
        Ok(Ok(Some(mut request))) if taker.wants(&request) => {
            let _on_panic = CountPanic(shared.stats.clone());
            shared.stats.requested();
            request.extensions_mut().insert(Peer(connection.peer));
            drop(bytes);
            taker.take(*request, Taken { stream, place }).await;
        }
        Ok(Ok(_)) => {
            connection.ahead = bytes.freeze();
            // Boxed: the connections that are taken need not have the room for it.
            Box::pin(connection::serve(connection, stream, place, service)).await;
        }
    }
}

/// Reads until it is clear what the first request is: the head of a plain GET, or `None` for
/// hyper to see to.
async fn read(
    stream: &mut TcpStream,
    bytes: &mut BytesMut,
    limits: &Limits,
) -> io::Result<Option<Box<Request<()>>>> {
    loop {
        let (seen, room) = (bytes.len(), limits.header_bytes.saturating_sub(bytes.len()));
        bytes.reserve(READ_BYTES.min(room));
        let mut within = stream.take(room as u64);
        // Nothing read: the peer has ended, or there is no room for more.
        if within.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
        match look(bytes, seen, limits.header_count) {
            Sight::Partial => {}
            Sight::Get(request) => return Ok(Some(request)),
            Sight::Other => return Ok(None),
        }
    }
}

/// Room for one read: a player's request, token included, is shorter.
const READ_BYTES: usize = 2 << 10;

#[cfg(test)]
mod tests;
