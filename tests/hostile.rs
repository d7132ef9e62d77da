//! Bad input on every port: refused within a deadline, counted, bounded, and nobody else notices.

use crate::harness::{Cluster, EDGES, clips, eventually, ffmpeg, get, request, token};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    time::Duration,
};

/// Longer than every deadline on a connection that says nothing useful.
const DEADLINE: Duration = Duration::from_secs(20);
/// More than any hostile connection may make a node hold: 64 MiB for all of this file's attacks together.
const MEMORY: u64 = 64 << 20;

/// Bytes that look like nothing, the same each run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The peer closes (or answers and closes) before the deadline; a read that times out is a failure.
fn assert_closed(mut stream: TcpStream, what: &str) {
    let mut sink = Vec::new();
    if let Err(error) = (&mut stream).take(1 << 20).read_to_end(&mut sink) {
        let timed_out = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!timed_out, "{what}: still open after {DEADLINE:?}");
    }
}

/// RTMP up to the end of a simple handshake, so that chunks are read.
fn handshaken(port: u16) -> TcpStream {
    let mut stream = connect(port);
    let mut hello = vec![3u8];
    hello.extend(vec![0; 8]);
    hello.extend(garbage(7, 1528));
    stream.write_all(&hello).unwrap();
    let mut answer = vec![0; 1 + 2 * 1536];
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(&answer[1..1537]).unwrap();
    stream
}

/// One chunk of type 0 on chunk stream 3 with this message type, claimed length and body.
fn chunk(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![3, 0, 0, 0];
    out.extend(&length.to_be_bytes()[1..]);
    out.push(kind);
    out.extend([0; 4]);
    out.extend(body);
    out
}

fn attack(port: u16, what: &str, bytes: &[u8]) {
    let mut stream = connect(port);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    assert_closed(stream, what);
}

#[test]
fn bad_input_on_every_port_is_refused_and_disturbs_nobody() {
    let mut cluster = Cluster::start(1);
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url("live/show"), &[]);
    cluster.wait_on_air("live/show");
    let edge = cluster.node(EDGES[0].0).ports["public"];
    let scheduler = cluster.node("scheduler").ports.clone();
    let before: Vec<u64> = memories(&cluster);

    let url = cluster.play_url("live/show", EDGES[0].3);
    let watching = std::thread::spawn(move || ffmpeg::hashes(&url, Some(25), true));
    attack_all(&cluster, edge, &scheduler);
    wrong_tokens(&cluster, edge);

    let received = watching.join().unwrap();
    let source = ffmpeg::hashes(clips::h264().to_str().unwrap(), None, true);
    let (seen, all) = (video(&received), video(&source));
    let start = all.iter().position(|hash| *hash == seen[0]).unwrap();
    let whole = seen
        .iter()
        .zip(all.iter().cycle().skip(start))
        .all(|(a, b)| a == b);
    assert!(
        whole && seen.len() > 500,
        "the playing stream was disturbed ({} pictures)",
        seen.len()
    );

    for (name, metric) in [
        ("origin", "weir_origin_refused_total"),
        (EDGES[0].0, "weir_edge_refused_total"),
    ] {
        assert!(
            cluster.node(name).metric(metric, "") > 0.0,
            "{name} counted nothing"
        );
    }
    for (before, now) in before.iter().zip(memories(&cluster)) {
        assert!(
            now < before + MEMORY,
            "memory grew from {before} to {now} bytes"
        );
    }
    for name in ["origin", "scheduler", EDGES[0].0] {
        assert!(cluster.node_mut(name).is_running(), "{name} died");
    }
}

/// Everything at once, on every port that a node opens.
fn attack_all(cluster: &Cluster, edge: u16, scheduler: &BTreeMap<&str, u16>) {
    std::thread::scope(|scope| {
        for port in [
            cluster.rtmp,
            edge,
            scheduler["public"],
            scheduler["cluster"],
        ] {
            scope.spawn(move || {
                for seed in 1..20 {
                    attack(port, "random bytes", &garbage(seed, 64 << (seed % 11)));
                }
                attack(port, "a connection that says nothing and closes", &[]);
                attack(port, "a very long line", &[b'A'; 1 << 20]);
            });
        }
        // What each port expects first, so that it takes the slow peer for an honest one.
        let slow: [(u16, &[u8]); 6] = [
            (cluster.rtmp, &[3]),
            (edge, b"GET / HTTP/1.1\r\nX-Slow: "),
            (edge, b"GET /live/show.flv HTTP/1.1\r\nX-Slow: "),
            (edge, b"GET"),
            (scheduler["public"], b"GET / HTTP/1.1\r\nX-Slow: "),
            (
                scheduler["cluster"],
                &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
            ),
        ];
        for (port, opening) in slow {
            scope.spawn(move || slow_loris(port, opening));
        }
        let rtmp = cluster.rtmp;
        scope.spawn(move || rtmp_attacks(rtmp));
        scope.spawn(move || flv_attacks(edge));
        for name in ["origin", EDGES[0].0] {
            let relay = cluster.node(name).ports["relay"];
            scope.spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for seed in 1..500 {
                    let _ = socket.send_to(&garbage(seed, 1200), ("127.0.0.1", relay));
                }
            });
        }
    });
}

fn memories(cluster: &Cluster) -> Vec<u64> {
    ["origin", "scheduler", EDGES[0].0]
        .iter()
        .map(|name| cluster.node(name).memory())
        .collect()
}

fn video(list: &[ffmpeg::Hashed]) -> Vec<&str> {
    list.iter()
        .filter(|h| h.stream == 0)
        .map(|h| h.hash.as_str())
        .collect()
}

/// Two bytes a second, which look alive to an idle timer.
fn slow_loris(port: u16, opening: &[u8]) {
    let mut stream = connect(port);
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut closed = false;
    for byte in opening.iter().chain(&[b'a'; 40]) {
        let mut sink = [0; 512];
        let ended = |result: std::io::Result<usize>| match result {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        closed = stream.write_all(&[*byte]).is_err() || ended(stream.read(&mut sink));
        if closed {
            break;
        }
    }
    assert!(closed, "port {port}: a slow request is still served");
}

fn rtmp_attacks(port: u16) {
    attack(port, "a truncated handshake", &garbage(3, 700));
    attack(port, "version 3, then nothing", &[3]);
    attack(port, "half a TLS hello", &[0x16, 3, 1, 0x40, 0]);
    let mut deep = vec![2, 0, 7];
    deep.extend(b"connect");
    deep.extend([0; 9]);
    deep.extend([3u8, 0, 1, b'a'].repeat(4000));
    let attacks: [(&str, Vec<u8>); 5] = [
        (
            "an oversized message",
            chunk(9, 0xff_ffff, &garbage(5, 1 << 20)),
        ),
        (
            "an oversized chunk size",
            chunk(1, 4, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "deep AMF",
            [
                chunk(1, 4, &[0, 1, 0, 0]),
                chunk(20, deep.len() as u32, &deep),
            ]
            .concat(),
        ),
        ("garbage as a command", chunk(20, 100, &garbage(9, 100))),
        (
            "chunks of many streams",
            (3..64u8)
                .flat_map(|id| {
                    let mut part = chunk(9, 0x0f_ffff, &[0; 128]);
                    part[0] = id;
                    part
                })
                .collect(),
        ),
    ];
    for (what, bytes) in attacks {
        let mut stream = handshaken(port);
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert_closed(stream, what);
    }
}

/// Requests for FLV that are none, or more than one.
fn flv_attacks(port: u16) {
    let get = |fields: &str| format!("GET /live/show.flv HTTP/1.1\r\nHost: x\r\n{fields}");
    let refused = [
        (get("\r\n"), "403"),
        (get("not a field\r\n\r\n"), "400"),
        (get(&format!("X: {}\r\n\r\n", "a".repeat(40 << 10))), "431"),
        (get(&format!("{}\r\n", "A: b\r\n".repeat(200))), "431"),
        (get("\r\n").replace("1.1", "1.0"), "403"),
        (get("\r\n").replace(".flv", ".flv?resume=1.2"), "400"),
    ];
    for (request, status) in refused {
        let mut stream = connect(port);
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:.60}: {answer}"
        );
    }
    // A viewer who goes on talking is served nevertheless, one who leaves at once is forgotten.
    let path = format!("/live/show.flv?token={}", token("play", "live/show"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    for after in [request.as_bytes(), &garbage(11, 64 << 10)] {
        let mut stream = connect(port);
        stream
            .write_all(&[request.as_bytes(), after].concat())
            .unwrap();
        let mut bytes = vec![0; 64 << 10];
        stream.read_exact(&mut bytes).unwrap();
        let whole = bytes.windows(7).any(|seven| seven == b"\r\n\r\nFLV");
        assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n") && whole);
    }
    for _ in 0..100 {
        let _ = connect(port).write_all(request.as_bytes());
    }
}

fn wrong_tokens(cluster: &Cluster, edge: u16) {
    let edge = format!("127.0.0.1:{edge}");
    let valid = token("play", "live/show");
    let mut tampered = valid.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();
    let none = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTl9.";
    for bad in [
        "",
        "x",
        none,
        &tampered,
        &token("publish", "live/show"),
        &"a".repeat(9000),
    ] {
        let answer = get(&edge, &format!("/live/show.flv?token={bad}"));
        assert!(
            [403, 414, 431].contains(&answer.status),
            "{bad:.40}: {}",
            answer.status
        );
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("signature"),
            "the answer tells the reason"
        );
    }
    for path in [
        "/live%2fshow.flv",
        "/live/../show.flv",
        "//live/show.flv",
        "/live/show%00.flv",
    ] {
        let status = get(&edge, &format!("{path}?token={valid}")).status;
        assert!([400, 403, 404].contains(&status), "{path}: {status}");
    }
    let refused = ffmpeg::publish(
        &clips::h264(),
        &format!("rtmp://127.0.0.1:{}/live/x?token=no", cluster.rtmp),
        &[],
    )
    .wait();
    assert!(!refused, "a publisher with a wrong token was taken");
    assert_eq!(
        request(
            &cluster.scheduler_admin,
            "POST",
            "/api/v1/nodes/origin/drain",
            "Origin: http://evil.example\r\n"
        )
        .status,
        403
    );
    eventually("the stream is still on air", || {
        cluster.redirect("live/show", EDGES[0].3).is_some()
    });
}
