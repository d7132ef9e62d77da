//! One HTTP connection from its first byte to its last, as server.
//!
//! Hot: response bodies are polled here; a frame is passed on by reference. hyper enforces the
//! header limits; this file adds TLS, the idle deadline, the drain and who the peer is.
//! An HTTP/2 peer that reads the connection but opens no window for a response is left to the
//! service, which sees its body no longer polled.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::guard::Guarded;
use super::server::{Limits, Shared};
use super::take::Place;
use super::{Body, BoxError, Incoming, Peer, PeerIdentity, Stats};
use crate::drain::Drain;
use crate::tls;

/// What is known of a connection before its first request.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) shared: Arc<Shared>,
    /// When it was accepted.
    pub(super) since: Instant,
    /// What was read of it already.
    pub(super) ahead: Bytes,
}

/// Serves one accepted connection to its end.
pub(super) async fn serve<T, S, F>(connection: Connection, stream: T, place: Place, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let Connection {
        peer,
        shared,
        mut since,
        ahead,
    } = connection;
    let _on_panic = CountPanic(shared.stats.clone());
    let io = Guarded::new(stream, shared.limits.write_stall, Some(place)).after(ahead);
    let io = match &shared.tls {
        None => tls::Stream::Plain(io),
        Some(config) => match tls::accept(Arc::clone(config), io).await {
            Ok(io) => {
                since = Instant::now();
                io
            }
            Err(error) => {
                shared.stats.fail("tls");
                return tracing::debug!(%peer, %error, "tls handshake failed");
            }
        },
    };
    let identity = io.peer_name().map(PeerIdentity);
    let activity = Arc::new(Activity::new(since));
    let requests = Arc::clone(&activity);
    let stats = shared.stats.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        stats.requested();
        let guard = Activity::begin(&requests);
        request.extensions_mut().insert(Peer(peer));
        if let Some(identity) = &identity {
            request.extensions_mut().insert(identity.clone());
        }
        let answer = service(request);
        async move {
            Ok::<_, Infallible>(answer.await.map(|inner| Tracked {
                inner,
                _guard: guard,
            }))
        }
    });
    let builder = builder(&shared.limits, &shared.drain);
    let http = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
    let http = std::pin::pin!(http);
    supervise(http, &activity, &shared, peer).await;
}

/// Polls the connection to its end, closing it when it idles or the drain starts.
async fn supervise<C>(mut http: Pin<&mut C>, activity: &Activity, shared: &Shared, peer: SocketAddr)
where
    C: Close,
{
    let first = activity.born + shared.limits.header_timeout;
    let mut check = std::pin::pin!(tokio::time::sleep_until(first));
    let mut closing = false;
    loop {
        tokio::select! {
            ended = http.as_mut() => {
                if let Err(error) = ended && !closing {
                    shared.stats.fail(reason(error.as_ref()));
                    tracing::debug!(%peer, %error, "connection failed");
                }
                return;
            }
            () = shared.drain.started(), if !closing => {
                closing = true;
                http.as_mut().close();
            }
            () = check.as_mut() => match activity.idle_until(&shared.limits) {
                Some(later) => check.as_mut().reset(later),
                None if closing => return,
                None => {
                    shared.stats.fail("idle");
                    closing = true;
                    http.as_mut().close();
                    check.as_mut().reset(Instant::now() + CLOSE_GRACE);
                }
            }
        }
    }
}

/// What ended a connection, in one word for the counter.
fn reason(error: &(dyn Error + 'static)) -> &'static str {
    let Some(http) = error.downcast_ref::<hyper::Error>() else {
        return "gone";
    };
    let io = http
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => "stall",
        Some(_) => "gone",
        None if http.is_timeout() => "idle",
        None if http.is_user() => "service",
        None if http.is_incomplete_message() || http.is_canceled() || http.is_closed() => "gone",
        None => "protocol",
    }
}

fn builder(limits: &Limits, drain: &Drain) -> auto::Builder<OnDrain> {
    let mut builder = auto::Builder::new(OnDrain(drain.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(MIN_HEADER_BYTES))
        .max_headers(limits.header_count);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.write_stall)
        .keep_alive_timeout(limits.write_stall);
    builder
}

/// A connection future that can be asked to end after its current responses.
trait Close: Future<Output = Result<(), BoxError>> {
    /// HTTP/1.1: no further request; HTTP/2: GOAWAY.
    fn close(self: Pin<&mut Self>);
}

impl<I, S, B> Close for auto::UpgradeableConnection<'_, I, S, OnDrain>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs HTTP/2's tasks on the drain, so that they too are waited for and stopped.
#[derive(Clone)]
struct OnDrain(Drain);

impl<F> hyper::rt::Executor<F> for OnDrain
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// How many requests of a connection are under way, and since when none is.
struct Activity {
    born: Instant,
    under_way: AtomicUsize,
    /// Milliseconds after `born` at which the last response ended; 0 before the first.
    last_end_ms: AtomicU64,
}

impl Activity {
    fn new(born: Instant) -> Self {
        Self {
            born,
            under_way: AtomicUsize::new(0),
            last_end_ms: AtomicU64::new(0),
        }
    }

    fn begin(this: &Arc<Self>) -> UnderWay {
        this.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(this))
    }

    /// When to look again, or `None` when the connection has idled for too long.
    fn idle_until(&self, limits: &Limits) -> Option<Instant> {
        let now = Instant::now();
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return Some(now + limits.idle_timeout);
        }
        let until = match self.last_end_ms.load(Ordering::Relaxed) {
            0 => self.born + limits.header_timeout,
            end => self.born + Duration::from_millis(end) + limits.idle_timeout,
        };
        (until > now).then_some(until)
    }
}

/// One request under way, until its response's body is dropped.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let elapsed = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_end_ms.store(elapsed.max(1), Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that keeps its request under way.
struct Tracked {
    inner: Body,
    _guard: UnderWay,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Counts a connection that a panic ends.
pub(super) struct CountPanic(pub(super) Stats);

impl Drop for CountPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("panic");
        }
    }
}

/// hyper panics on a smaller buffer.
const MIN_HEADER_BYTES: usize = 8 << 10;

/// Time for a connection that was asked to close to say goodbye.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
