//! A listener with a taker: who gets which connection, by bytes laid out by hand.

use std::time::Duration;

use ::http::{HeaderValue, StatusCode, header};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::super::tests::{PATIENCE, Running, read_to_close};
use super::super::{TokioIo, collect, empty, head, peer, problem};
use super::*;

/// Takes what ends in `.flv`: says who asked for what, or refuses, or passes the connection on.
struct Streams {
    kept: mpsc::Sender<Taken>,
}

impl Taker for Streams {
    fn wants(&self, request: &Request<()>) -> bool {
        request.uri().path().ends_with(".flv")
    }

    async fn take(self: Arc<Self>, request: Request<()>, mut taken: Taken) {
        let peer = peer(&request).expect("a taken request names its peer");
        match request.uri().path() {
            "/refused.flv" => {
                let mut response = problem(StatusCode::FORBIDDEN, "forbidden", "");
                let any = HeaderValue::from_static("*");
                let headers = response.headers_mut();
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
                taken.answer(response).await;
            }
            "/kept.flv" => self.kept.send(taken).await.unwrap(),
            "/panic.flv" => panic!("asked to"),
            path => {
                let text = format!("taken {path} {}", peer.ip());
                let head = head(&Response::new(()));
                taken.stream.write_all(&head).await.unwrap();
                taken.stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    }
}

fn start(limits: Limits) -> (Running, mpsc::Receiver<Taken>) {
    let (kept, taken) = mpsc::channel(1);
    (Running::start_taking(limits, Streams { kept }), taken)
}

/// The last thing that a connection does is to give its place back.
async fn until_none_open(server: &Running) {
    let closed = async {
        while server.stats.open() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("a place was kept");
}

#[tokio::test]
async fn each_request_goes_where_it_belongs() {
    let (server, _) = start(Limits::default());
    let get = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
    };
    let taken = "taken /a.flv 127.0.0.1";
    let rows = [
        (get("/a.flv", ""), "200 OK", taken),
        (get("/a.flv?b=c", ""), "200 OK", taken),
        (get("http://x/a.flv", ""), "200 OK", taken),
        (get("/a.flv", "Content-Length: 0\r\n"), "200 OK", taken),
        ("GET /a.flv HTTP/1.0\r\n\r\n".to_owned(), "200 OK", taken),
        // What comes behind the first request is not answered: the response has no other end.
        (get("/a.flv", "") + &get("/version", ""), "200 OK", taken),
        (
            get("/refused.flv", ""),
            "403 Forbidden",
            "\"title\":\"forbidden\"}",
        ),
        (get("/version", ""), "200 OK", "HTTP/1.1"),
        (get("/b.flv.not", ""), "404 Not Found", "no such page"),
        (
            get("/a.flv", "Upgrade: echo\r\n"),
            "404 Not Found",
            "no such page",
        ),
        (
            get("/a.flv", "Content-Length: 2\r\n") + "ab",
            "404 Not Found",
            "no such page",
        ),
        (
            "HEAD /a.flv HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "404 Not Found",
            "",
        ),
        (
            "GET /a.flv HTTP/1.1\r\nnot a field\r\n\r\n".to_owned(),
            "400 Bad Request",
            "",
        ),
    ];
    for (request, status, body) in rows {
        let answer = server.exchange(request.as_bytes()).await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:?}: {answer}"
        );
        assert!(rest.contains(body), "{request:?}: {answer}");
        assert!(
            head.to_lowercase().contains("date: "),
            "{request:?}: {answer}"
        );
    }
    until_none_open(&server).await;
}

#[tokio::test]
async fn an_answer_to_a_taken_connection_has_its_length_and_headers() {
    let (server, _) = start(Limits::default());
    let answer = server
        .exchange(b"GET /refused.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    for field in [
        format!("content-length: {}", body.len()),
        "connection: close".to_owned(),
        "content-type: application/problem+json".to_owned(),
        "access-control-allow-origin: *".to_owned(),
    ] {
        assert!(head.contains(&field), "{field}: {answer}");
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let (server, _) = start(Limits::default());
    for (path, body) in [("/a.flv", "taken /a.flv"), ("/version", "HTTP/1.1")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in request.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let answer = read_to_close(&mut stream).await;
        assert!(answer.contains(body), "{answer}");
    }
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_hypers() {
    let (server, _) = start(Limits::default());
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (path, expect) in [
        ("/version", StatusCode::OK),
        ("/a.flv", StatusCode::NOT_FOUND),
    ] {
        let request = Request::get(format!("http://{}{path}", server.addr));
        let answer = sender
            .send_request(request.body(empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), expect, "{path}");
        collect(answer.into_body(), 1000, PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_head_has_its_time_and_its_size() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        header_bytes: 8 << 10,
        header_count: 20,
        ..Limits::default()
    };
    let (server, _) = start(limits);
    for start in [
        "",
        "G",
        "GET /a.flv HT",
        "GET /a.flv HTTP/1.1\r\nHost: x\r\n",
        "PO",
    ] {
        let answer = server.exchange(start.as_bytes()).await;
        assert_eq!(answer, "", "{start:?}");
    }
    let fields = |text: String| format!("GET /a.flv HTTP/1.1\r\nHost: x\r\n{text}\r\n");
    let long = fields(format!("X: {}\r\n", "a".repeat(9 << 10)));
    let endless = format!("GET /a.flv HTTP/1.1\r\nX: {}", "a".repeat(9 << 10));
    let many = fields("A: b\r\n".repeat(21));
    for request in [long, endless, many] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    until_none_open(&server).await;
    assert_eq!(server.stats.requests(), 0);
}

#[tokio::test]
async fn a_peer_that_leaves_early_is_let_go() {
    let (server, _) = start(Limits::default());
    for start in ["", "G", "GET /a.flv HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_close(&mut stream).await;
    }
    until_none_open(&server).await;
}

#[tokio::test]
async fn a_taken_connection_keeps_its_place_until_it_is_given_back() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let (server, mut kept) = start(limits);
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let request = b"GET /kept.flv HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let taken = kept.recv().await.unwrap();
    assert_eq!((server.stats.open(), server.stats.requests()), (1, 1));
    let full = server.exchange(b"GET /a.flv HTTP/1.1\r\n\r\n").await;
    assert!(full.starts_with("HTTP/1.1 503"), "{full}");
    drop(taken);
    let answer = server.exchange(b"GET /a.flv HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_panic_of_the_taker_ends_one_connection_only() {
    let (server, _) = start(Limits::default());
    let answer = server
        .exchange(b"GET /panic.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(answer, "");
    let answer = server
        .exchange(b"GET /a.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.stats.failed("panic"), 1);
}

#[tokio::test]
async fn a_drain_waits_for_nobody_who_has_not_asked() {
    let (server, _) = start(Limits::default());
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET /a.flv HTTP/1.1\r\n").await.unwrap();
    while server.stats.open() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(server.drain.finish(PATIENCE).await);
}
