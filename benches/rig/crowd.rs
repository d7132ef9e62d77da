//! Viewers by the thousand in one thread: each a socket that is read and thrown away, a few of them looked into.

use super::source;
use hdrhistogram::Histogram;
use media::{
    flv::{Demuxer, Event},
    frame::{Kind, TrackId},
};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
};
use socket2::{Domain, Socket, Type};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Read at once: more than is sent in one go, and still in the core's own cache.
const CHUNK: usize = 256 << 10;
/// Source addresses 127.0.0.1 and on take so many viewers each.
const PER_ADDRESS: usize = 4_000;

/// Longer times count as this.
const LONGEST_US: u64 = 60_000_000;
/// A server may take so long until it knows the stream.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Crowd {
    epoll: OwnedFd,
    server: SocketAddr,
    request: Vec<u8>,
    /// Of the next who join, every so manyth is looked into.
    pub look_at: usize,
    /// Whether latency is taken of them too, or only the wait for the first picture.
    pub timed: bool,
    /// Whether all that they get is kept.
    pub keep: bool,
    /// Where they come from, in turn; without any, from loopback addresses, some thousands from each.
    pub sources: Vec<Ipv4Addr>,
    http2: bool,
    viewers: Vec<Option<Viewer>>,
    /// Places of those who left.
    free: Vec<usize>,
    joined: usize,
    buffer: Vec<u8>,
    seen: Seen,
}

struct Viewer {
    socket: TcpStream,
    answered: bool,
    kept: Option<Vec<u8>>,
    /// Of those that are looked into.
    viewing: Option<Viewing>,
}

/// Looks at what one viewer receives.
pub struct Viewing {
    demuxer: Demuxer,
    asked: Instant,
    timed: bool,
    showed: bool,
}

/// What was seen in a stretch of time.
pub struct Seen {
    pub bytes: u64,
    pub frames: u64,
    /// Microseconds from a frame's making to its whole arrival.
    pub latency: Histogram<u64>,
    /// Microseconds from asking to the whole first key frame.
    pub first_key: Histogram<u64>,
    /// Viewers who were refused or cut off.
    pub lost: u64,
}

impl Seen {
    pub fn nothing() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds");
        Self {
            bytes: 0,
            frames: 0,
            latency: histogram(),
            first_key: histogram(),
            lost: 0,
        }
    }

    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }

    pub fn first_key_ms(&self, quantile: f64) -> f64 {
        self.first_key.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl Crowd {
    /// Nobody yet, once the server has the stream; of those who come, every `look_at`th is looked into.
    pub fn new(server: SocketAddr, path: &str, look_at: usize) -> Self {
        await_stream(server, path);
        Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor"),
            server,
            request: request(server, path),
            look_at,
            timed: true,
            keep: false,
            sources: Vec::new(),
            http2: false,
            viewers: Vec::new(),
            free: Vec::new(),
            joined: 0,
            buffer: vec![0; CHUNK],
            seen: Seen::nothing(),
        }
    }

    /// The same over HTTP/2 without TLS (RFC 9113, section 3.3); nobody is looked into.
    pub fn over_http2(server: SocketAddr, path: &str) -> Self {
        let mut crowd = Self::new(server, path, usize::MAX);
        crowd.request = http2_request(server, path);
        crowd.http2 = true;
        crowd
    }

    /// The next who join ask for this.
    pub fn ask(&mut self, path: &str) {
        self.request = request(self.server, path);
    }

    /// So many more join, evenly over this time, while the others watch on.
    pub fn join(&mut self, count: usize, over: Duration) {
        let start = Instant::now();
        for number in 0..count {
            self.turn_until(start + over * number as u32 / count as u32);
            self.enter();
        }
    }

    /// The first so many leave.
    pub fn leave(&mut self, count: usize) {
        let here = self.viewers.iter_mut().enumerate();
        let here = here.filter(|(_, viewer)| viewer.is_some());
        for (place, viewer) in here.take(count) {
            *viewer = None;
            self.free.push(place);
        }
    }

    /// Watches for so long, and says what was seen since it was asked last.
    pub fn watch(&mut self, long: Duration) -> Seen {
        self.turn_until(Instant::now() + long);
        std::mem::replace(&mut self.seen, Seen::nothing())
    }

    /// All that those got, without HTTP's head, of whom it is kept.
    pub fn kept(&self) -> impl Iterator<Item = &[u8]> {
        let viewers = self.viewers.iter().flatten();
        viewers.filter_map(|viewer| viewer.kept.as_deref())
    }

    /// How many are watching.
    pub fn len(&self) -> usize {
        self.viewers.iter().flatten().filter(|v| v.answered).count()
    }

    fn enter(&mut self) {
        let viewer = self.dial().expect("the server takes connections");
        let place = self.free.pop().unwrap_or_else(|| {
            self.viewers.push(None);
            self.viewers.len() - 1
        });
        let data = EventData::new_u64(place as u64);
        epoll::add(&self.epoll, &viewer.socket, data, EventFlags::IN).expect("it is a socket");
        self.viewers[place] = Some(viewer);
        self.joined += 1;
    }

    fn dial(&self) -> std::io::Result<Viewer> {
        let address = match self.sources.len() {
            0 => Ipv4Addr::new(127, 0, 0, 1 + (self.viewers.len() / PER_ADDRESS) as u8),
            sources => self.sources[self.joined % sources],
        };
        let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        let looked_at = !self.http2 && self.joined.is_multiple_of(self.look_at);
        let viewing = looked_at.then(|| Viewing::new(self.timed));
        socket.connect(&self.server.into())?;
        let mut socket = TcpStream::from(socket);
        socket.write_all(&self.request)?;
        socket.set_nonblocking(true)?;
        Ok(Viewer {
            socket,
            answered: self.http2,
            kept: self.keep.then(Vec::new),
            viewing,
        })
    }

    fn turn_until(&mut self, deadline: Instant) {
        let mut events = Vec::with_capacity(256);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.try_into().expect("short");
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&wait),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            for event in events.drain(..) {
                self.read(event.data.u64() as usize);
            }
            if left.is_zero() {
                return;
            }
        }
    }

    fn read(&mut self, place: usize) {
        let Some(viewer) = &mut self.viewers[place] else {
            return;
        };
        let open = match viewer.socket.read(&mut self.buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.seen.bytes += read as u64;
                viewer.take(&self.buffer[..read], &mut self.seen)
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if !open {
            self.seen.lost += 1;
            self.viewers[place] = None;
            self.free.push(place);
        }
    }
}

impl Viewer {
    /// False when this is no viewer to go on with.
    fn take(&mut self, mut bytes: &[u8], seen: &mut Seen) -> bool {
        if !self.answered {
            // It comes in one piece on loopback.
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return false;
            };
            if !bytes.starts_with(OK) {
                super::progress(&String::from_utf8_lossy(&bytes[..end]));
                return false;
            }
            self.answered = true;
            bytes = &bytes[end + 4..];
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        let Some(viewing) = &mut self.viewing else {
            return true;
        };
        if !viewing.look(bytes, seen) {
            self.viewing = None;
        }
        true
    }
}

impl Viewing {
    /// From now, when it asks; `timed` when latency is wanted too, not only the wait for the first picture.
    pub fn new(timed: bool) -> Self {
        Self {
            demuxer: Demuxer::new(),
            asked: Instant::now(),
            timed,
            showed: false,
        }
    }

    /// False once all is known that was wanted.
    pub fn look(&mut self, bytes: &[u8], seen: &mut Seen) -> bool {
        self.demuxer.push(bytes);
        loop {
            match self.demuxer.next().expect("what comes is FLV") {
                Some(Event::Frame(_, frame)) => {
                    seen.frames += 1;
                    let picture = frame.track == TrackId::VIDEO && frame.kind == Kind::Key;
                    if picture && !std::mem::replace(&mut self.showed, true) {
                        let waited = self.asked.elapsed().as_micros() as u64;
                        seen.first_key.saturating_record(waited);
                    }
                    if self.timed {
                        let age = source::age(&frame.payload).unwrap_or_default();
                        seen.latency.saturating_record(age.as_micros() as u64);
                    } else if self.showed {
                        return false;
                    }
                }
                Some(_) => {}
                None => return true,
            }
        }
    }
}

/// Asks until the stream comes.
fn await_stream(server: SocketAddr, path: &str) {
    let ask = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(&request(server, path))?;
        let mut answer = [0; OK.len()];
        socket.read_exact(&mut answer)?;
        Ok(answer == OK)
    };
    let start = Instant::now();
    while !ask().unwrap_or(false) {
        assert!(start.elapsed() < PATIENCE, "{path} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const OK: &[u8] = b"HTTP/1.1 200";

fn request(server: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n").into_bytes()
}

/// Preface, settings and windows that never fill, and one GET of literal fields without Huffman coding
/// (RFC 9113, sections 3.4, 6.5, 6.9 and 6.2; RFC 7541, section 6.2.2 and appendix A for the names).
fn http2_request(server: SocketAddr, path: &str) -> Vec<u8> {
    const WINDOW: u32 = (1 << 31) - 1;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = payload.len() as u8;
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let literal = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    let window = [&[0, 4], &WINDOW.to_be_bytes()[..]].concat();
    let more = (WINDOW - 65_535).to_be_bytes();
    // Method GET and scheme http stand in the static table; path is its name 4, authority its name 1.
    let fields = [
        vec![0x82, 0x86],
        literal(4, path),
        literal(1, &server.to_string()),
    ];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &window),
        frame(8, 0, 0, &more),
        frame(1, 0b101, 1, &fields.concat()),
    ]
    .concat()
}
