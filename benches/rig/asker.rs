//! Asks for redirects over kept connections, as fast as they are answered or at a fixed rate.
//!
//! One thread looks at all sockets in turn and never sleeps, so that it adds no delay of its own.
//! At a fixed rate each request has its time; waiting for a free connection counts as delay.

use hdrhistogram::Histogram;
use scheduler::snapshot::mix;
use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

const SECONDS: f64 = 5.0;

/// What came of it.
pub struct Answers {
    pub a_second: f64,
    delays_us: Histogram<u64>,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |quantile| self.delays_us.value_at_quantile(quantile) as f64 / 1e3;
        write!(
            f,
            "{:>7.0} redirects/s, p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms",
            self.a_second,
            ms(0.5),
            ms(0.99),
            ms(1.0)
        )
    }
}

struct Connection {
    socket: TcpStream,
    answer: Vec<u8>,
    /// When what is asked now was due.
    asked: Option<Instant>,
}

/// Asks for some seconds.
pub fn ask(host: &str, connections: usize, a_second: Option<f64>) -> Answers {
    let connect = |_| {
        let socket = TcpStream::connect(host).expect("the scheduler listens");
        socket.set_nodelay(true).expect("TCP");
        socket.set_nonblocking(true).expect("a socket");
        Connection {
            socket,
            answer: Vec::with_capacity(4096),
            asked: None,
        }
    };
    let mut all: Vec<Connection> = (0..connections).map(connect).collect();
    let bounds = Histogram::new_with_bounds(1, 60_000_000, 3);
    let mut delays_us = bounds.expect("valid bounds");
    let start = Instant::now();
    let mut asked = 0u64;
    while start.elapsed().as_secs_f64() < SECONDS {
        for connection in &mut all {
            if let Some(delay) = connection.answered() {
                delays_us.saturating_record(delay.as_micros() as u64);
            }
            let now = Instant::now();
            let due = a_second.map(|rate| start + Duration::from_secs_f64(asked as f64 / rate));
            let due = due.unwrap_or(now);
            if connection.asked.is_none() && due <= now {
                asked += 1;
                connection.ask(host, asked, due);
            }
        }
    }
    Answers {
        a_second: delays_us.len() as f64 / start.elapsed().as_secs_f64(),
        delays_us,
    }
}

impl Connection {
    fn ask(&mut self, host: &str, nth: u64, due: Instant) {
        let address = Ipv4Addr::from(mix(nth) as u32);
        let request = format!("GET /live/show.flv?ip={address} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let sent = self.socket.write(request.as_bytes());
        assert_eq!(sent.expect("it listens"), request.len(), "one small packet");
        self.asked = Some(due);
    }

    /// The delay of an answer that is complete now.
    fn answered(&mut self) -> Option<Duration> {
        let due = self.asked?;
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(0) => panic!("the scheduler hung up"),
            Ok(count) => self.answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
        // A redirect has no body.
        if !self.answer.ends_with(b"\r\n\r\n") {
            return None;
        }
        assert!(self.answer.starts_with(b"HTTP/1.1 302 "));
        self.answer.clear();
        self.asked = None;
        Some(due.elapsed())
    }
}
