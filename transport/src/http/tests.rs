//! The server and the client against each other and against bytes laid out by hand.

use std::future::pending;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::{CONNECTION, UPGRADE};
use http_body_util::StreamBody;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::accept::Listener;
use crate::drain::Drain;
use crate::tls::{self, Identity};

const SECRET: &str = "a secret of the cluster under test";

/// Longer than anything here takes; a test that reaches it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A server in this process, and what the tests look at.
pub(super) struct Running {
    pub(super) addr: SocketAddr,
    pub(super) stats: Stats,
    pub(super) drain: Drain,
}

impl Running {
    fn start(limits: Limits) -> Self {
        Self::start_with(limits, |server| server)
    }

    fn start_with(limits: Limits, change: impl FnOnce(Server) -> Server) -> Self {
        let (server, running) = Self::bind(limits);
        running.drain.spawn(change(server).run(service));
        running
    }

    pub(super) fn start_taking(limits: Limits, taker: impl Taker) -> Self {
        let (server, running) = Self::bind(limits);
        let serving = server.run_with(service, Arc::new(taker));
        running.drain.spawn(serving);
        running
    }

    fn bind(limits: Limits) -> (Server, Self) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let drain = Drain::new();
        let stats = Metrics::default().listener("test");
        let server = Server::new(listener, limits, drain.clone()).stats(stats.clone());
        let addr = server.local_addr().unwrap();
        (server, Self { addr, stats, drain })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Waits for a connection that fails for this reason.
    pub(super) async fn until_failed(&self, reason: &'static str) {
        let failed = async {
            while self.stats.failed(reason) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, failed)
            .await
            .expect("no connection failed");
    }

    /// Opens a connection, sends the bytes and gives all that comes back until it is closed.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_to_close(&mut stream).await
    }
}

pub(super) async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset says the same as an end: the connection is closed.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("never closed");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn service(mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/version" => Response::new(full(format!("{:?}", request.version()))),
        "/whoami" => {
            let node = request
                .extensions()
                .get::<PeerIdentity>()
                .map(|node| node.0.clone());
            json(
                StatusCode::OK,
                &(node, peer(&request).map(|addr| addr.ip())),
            )
        }
        "/panic" => panic!("asked to"),
        "/endless" => Response::new(endless(Bytes::from_static(b"frame"))),
        "/flood" => Response::new(endless(Bytes::from(vec![0; 1 << 20]))),
        "/upgrade" => {
            let upgrade = on_upgrade(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let byte = io.read_u8().await.unwrap();
                io.write_u8(byte + 1).await.unwrap();
            });
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response
                .headers_mut()
                .insert(UPGRADE, HeaderValue::from_static("echo"));
            response
        }
        "/echo" => match collect(request.into_body(), 100, PATIENCE).await {
            Ok(bytes) => Response::new(full(bytes)),
            Err(error) => problem(StatusCode::PAYLOAD_TOO_LARGE, "refused", &error.to_string()),
        },
        _ => problem(StatusCode::NOT_FOUND, "no such page", "try /version"),
    }
}

/// The frame again and again, as fast as it is taken when it is large, else once and no end.
fn endless(frame: Bytes) -> Body {
    let floods = frame.len() > 1024;
    let frames = futures_util::stream::unfold(0, move |sent| {
        let frame = frame.clone();
        async move {
            if sent > 0 && !floods {
                pending::<()>().await;
            }
            Some((
                Ok::<_, std::io::Error>(http_body::Frame::data(frame)),
                sent + 1,
            ))
        }
    });
    body(StreamBody::new(frames))
}

#[tokio::test]
async fn http1_serves_many_requests_on_one_connection() {
    let server = Running::start(Limits::default());
    let answer = server
        .exchange(
            b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n\
              GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(
        (server.stats.connections(), server.stats.requests()),
        (1, 2)
    );
}

#[tokio::test]
async fn http2_without_tls_is_recognised_by_its_preface() {
    let server = Running::start(Limits::default());
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(server.url("/version")).body(empty()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(
        collect(answer.into_body(), 100, PATIENCE).await.unwrap(),
        "HTTP/2.0"
    );
}

#[tokio::test]
async fn http2_over_tls_is_agreed_on_in_the_handshake() {
    let made = tls::self_signed(&["127.0.0.1".to_owned()]).unwrap();
    let server = Running::start_with(Limits::default(), |server| server.tls(made.config));
    let mut config = tls::trusting(&made.certificate_pem).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let stream = tls::connect(Arc::new(config), "127.0.0.1", tcp)
        .await
        .unwrap();
    assert!(stream.is_h2());
    let client = Client::trusting(&made.certificate_pem).unwrap();
    let url = format!("https://{}/version", server.addr);
    let request = Request::get(url).body(Default::default()).unwrap();
    assert_eq!(client.request(request).await.unwrap().body(), "HTTP/1.1");
}

#[tokio::test]
async fn a_header_that_never_ends_is_not_waited_for() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Running::start(limits);
    let before = Instant::now();
    for start in ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        server.exchange(start.as_bytes()).await;
    }
    // An HTTP/2 client that says hello and then nothing.
    server
        .exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    assert!(before.elapsed() < PATIENCE);
    assert_eq!(server.stats.requests(), 0);
}

#[tokio::test]
async fn an_idle_kept_alive_connection_is_closed() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Running::start(limits);
    let answer = server
        .exchange(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn oversized_headers_are_answered_with_431() {
    let limits = Limits {
        header_bytes: 8 << 10,
        header_count: 20,
        ..Limits::default()
    };
    let server = Running::start(limits);
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "a".repeat(9 << 10)
    );
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(21));
    for request in [long, many] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn random_bytes_end_one_connection() {
    let server = Running::start(Limits::default());
    let answer = server
        .exchange(&[0x16, 3, 1, 0, 200, 0xff, 0, 1, 2, 3, b'\r', b'\n'])
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 400") || answer.is_empty(),
        "{answer}"
    );
    assert_eq!(server.stats.failed("protocol"), 1);
}

#[tokio::test]
async fn an_upgraded_connection_is_the_services_own() {
    let server = Running::start(Limits {
        connections: 1,
        ..Limits::default()
    });
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request =
        b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let full = server.exchange(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        full.starts_with("HTTP/1.1 503"),
        "an upgraded connection keeps its place: {full}"
    );
    stream.write_u8(6).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 7);
}

#[tokio::test]
async fn above_the_limit_a_connection_is_answered_with_503() {
    let server = Running::start(Limits {
        per_address: 1,
        ..Limits::default()
    });
    let held = Client::new().get(&server.url("/endless")).await.unwrap();
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After"),
        "{answer}"
    );
    assert_eq!(server.stats.refused("address"), 1);
    drop(held);
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let server = Running::start(Limits::default());
    assert_eq!(
        server
            .exchange(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")
            .await,
        ""
    );
    let error = Client::new()
        .get_json::<()>(&server.url("/none"), None)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("404 Not Found: no such page: try /version"),
        "{error}"
    );
    assert_eq!(server.stats.failed("panic"), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let limits = Limits {
        write_stall: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Running::start(limits);
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream
        .write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    server.until_failed("stall").await;
    assert_eq!(server.stats.open(), 0);
}

#[tokio::test]
async fn a_drain_ends_idle_connections_at_once_and_streaming_ones_by_the_deadline() {
    let server = Running::start(Limits::default());
    let client = Client::new();
    let answer: Bytes = {
        let request = Request::get(server.url("/version"))
            .body(Default::default())
            .unwrap();
        client.request(request).await.unwrap().into_body()
    };
    assert_eq!(answer, "HTTP/1.1");
    let mut streaming = Client::new()
        .get(&server.url("/endless"))
        .await
        .unwrap()
        .into_body();
    streaming.frame().await.unwrap().unwrap();
    let before = Instant::now();
    assert!(
        !server.drain.finish(Duration::from_millis(300)).await,
        "one had to be cut"
    );
    assert!(before.elapsed() < PATIENCE);
    let rest = timeout(PATIENCE, streaming.frame())
        .await
        .expect("the stream was cut");
    assert!(rest.is_none_or(|frame| frame.is_err()));
    assert!(
        TcpStream::connect(server.addr).await.is_err(),
        "the listener is closed"
    );
}

#[tokio::test]
async fn a_drain_lets_a_response_finish() {
    let server = Running::start(Limits::default());
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab";
    stream.write_all(head).await.unwrap();
    while server.stats.requests() == 0 {
        tokio::task::yield_now().await;
    }
    server.drain.start();
    stream.write_all(b"cd").await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("abcd"),
        "{answer}"
    );
    assert!(server.drain.finish(PATIENCE).await);
}

#[tokio::test]
async fn a_body_is_taken_up_to_its_bound() {
    let server = Running::start(Limits::default());
    let error = Client::new()
        .post_json::<_, ()>(&server.url("/echo"), None, &"a".repeat(99))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::PAYLOAD_TOO_LARGE));
    assert!(
        error.to_string().contains("longer than 100 bytes"),
        "{error}"
    );
    let echoed: String = Client::new()
        .post_json(&server.url("/echo"), None, "ok")
        .await
        .unwrap();
    assert_eq!(echoed, "ok");
}

#[tokio::test]
async fn mutual_tls_names_the_peer_and_refuses_strangers() {
    let identity = |secret, node| Identity::from_secret(secret, node).unwrap();
    let config = identity(SECRET, "sched-1")
        .server_config(&[b"http/1.1"])
        .unwrap();
    let server = Running::start_with(Limits::default(), |server| server.tls(config));
    let url = format!("https://{}/whoami", server.addr);

    let client = Client::with_identity(&identity(SECRET, "edge-1")).unwrap();
    let (node, ip): (Option<String>, String) = client.get_json(&url, None).await.unwrap();
    assert_eq!(
        (node.as_deref(), ip.as_str()),
        (Some("edge-1"), "127.0.0.1")
    );

    let stranger = Client::with_identity(&identity("another, just as long", "edge-1")).unwrap();
    let error = stranger.get_json::<()>(&url, None).await.unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
    assert!(
        Client::new()
            .get(&url)
            .await
            .unwrap_err()
            .to_string()
            .contains("https needs")
    );
    assert_eq!(server.stats.requests(), 1);
    server.until_failed("tls").await;
}

#[tokio::test]
async fn a_client_bounds_what_and_how_long_it_takes() {
    let server = Running::start(Limits::default());
    let request = |path: &str| {
        Request::get(server.url(path))
            .body(Default::default())
            .unwrap()
    };
    let client = Client::new()
        .max_body(1000)
        .timeout(Duration::from_millis(300));
    let error = client.request(request("/flood")).await.unwrap_err();
    assert!(
        matches!(error, ClientError::TooLarge { max: 1000, .. }),
        "{error}"
    );
    let error = client.request(request("/endless")).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    let error = Client::new().get("ftp://x/").await.unwrap_err();
    assert!(
        error.to_string().contains("write http://host:port/path"),
        "{error}"
    );
    let closed = Listener::bind("127.0.0.1:0".parse().unwrap())
        .unwrap()
        .local_addr()
        .unwrap();
    let error = Client::new()
        .get(&format!("http://{closed}/"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

/// A socket that notes where the buffers of each vectored write are.
struct Recorder {
    io: tokio::io::DuplexStream,
    written: Arc<parking_lot::Mutex<Vec<usize>>>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.written
            .lock()
            .extend(bufs.iter().map(|buf| buf.as_ptr() as usize));
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_frame_is_written_from_where_it_was() {
    let (io, mut client) = tokio::io::duplex(1 << 20);
    let written = Arc::default();
    let recorder = Recorder {
        io,
        written: Arc::clone(&written),
    };
    let peer = SocketAddr::from(([192, 0, 2, 1], 1));
    let stats = Metrics::default().listener("test");
    let permit = crate::limit::Connections::new(1, 1)
        .try_acquire(peer.ip())
        .unwrap();
    let place = Place::new(permit, stats.opened());
    let drain = Drain::new();
    let shared = server::Shared {
        limits: Limits::default(),
        drain,
        stats,
        tls: None,
    };
    let connection = connection::Connection {
        peer,
        shared: Arc::new(shared),
        since: Instant::now(),
        ahead: Bytes::new(),
    };
    // A small frame and a large one: neither is copied into a buffer of the connection.
    let frames = [Bytes::from(vec![1; 40]), Bytes::from(vec![2; 100_000])];
    let places = frames.each_ref().map(|frame| frame.as_ptr() as usize);
    let service = move |_| {
        let frames = frames
            .clone()
            .map(|frame| Ok::<_, BoxError>(http_body::Frame::data(frame)));
        let response = Response::new(body(StreamBody::new(futures_util::stream::iter(frames))));
        async move { response }
    };
    tokio::spawn(connection::serve(connection, recorder, place, service));
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.len() > 100_040);
    for place in places {
        assert!(written.lock().contains(&place));
    }
}

#[tokio::test]
async fn a_drain_says_goaway_and_cuts_http2_streams_by_the_deadline() {
    let server = Running::start(Limits::default());
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = |path| Request::get(server.url(path)).body(empty()).unwrap();
    let mut body = sender
        .send_request(request("/endless"))
        .await
        .unwrap()
        .into_body();
    body.frame().await.unwrap().unwrap();
    server.drain.start();
    let refused = async {
        while sender.send_request(request("/version")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused)
        .await
        .expect("new requests are refused");
    assert!(
        !server.drain.finish(Duration::from_millis(200)).await,
        "one had to be cut"
    );
    let rest = timeout(PATIENCE, body.frame())
        .await
        .expect("the stream was cut");
    assert!(rest.is_none_or(|frame| frame.is_err()));
    let _ = timeout(PATIENCE, connection)
        .await
        .expect("the connection was closed");
}
