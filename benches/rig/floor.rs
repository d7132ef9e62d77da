//! The floor: a bare loop of non-blocking `write` over sockets that epoll watches, and nothing else.
//!
//! One thread, one stream. What came within the budget stands in one buffer, which is written to each viewer; a
//! viewer who does not take all is remembered by its position and written to when its socket says so. No cache: a viewer
//! starts with what comes next. It speaks just enough HTTP for the same viewers as Weir's edge.

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    io::{Errno, write},
};
use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// The argument that makes a benchmark's own program be this.
pub const COMMAND: &str = "floor";

const LISTENER: u64 = u64::MAX;
const FEED: u64 = u64::MAX - 1;
/// Read at once: more than a key frame.
const CHUNK: usize = 1 << 20;
/// A viewer so far behind is closed.
const BEHIND: usize = 8 << 20;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: video/x-flv\r\nconnection: close\r\n\r\n";

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    feed: TcpStream,
    /// Came from the feed and is no whole message yet.
    partial: Vec<u8>,
    head: Vec<u8>,
    /// What some viewer has still to get; its first byte stands at `base` of the stream.
    log: Vec<u8>,
    base: usize,
    /// Up to here the last batch was written.
    written: usize,
    viewers: Vec<Option<Viewer>>,
}

struct Viewer {
    socket: TcpStream,
    /// In the stream; unset before the request came.
    position: Option<usize>,
}

/// Serves what the feed sends until the feed ends; prints its address first.
pub fn run(feed: SocketAddr, budget: Duration) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    rustix::net::listen(&listener, 4096)?;
    let address = listener.local_addr()?;
    let mut floor = Floor::new(listener, TcpStream::connect(feed)?)?;
    println!("{address}");
    let mut events = Vec::with_capacity(1024);
    let mut tick = Instant::now();
    loop {
        let wait = (!budget.is_zero()).then(|| tick.saturating_duration_since(Instant::now()));
        let wait = wait.map(|wait| wait.try_into().expect("short"));
        match epoll::wait(
            &floor.epoll,
            rustix::buffer::spare_capacity(&mut events),
            wait.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => floor.accept()?,
                FEED if !floor.take()? => return Ok(()),
                FEED => {}
                number => floor.serve(number as usize, event.flags),
            }
        }
        if budget.is_zero() {
            floor.write_all();
        } else if Instant::now() >= tick {
            floor.write_all();
            tick += budget;
        }
    }
}

impl Floor {
    fn new(listener: TcpListener, feed: TcpStream) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        listener.set_nonblocking(true)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        epoll::add(&epoll, &feed, EventData::new_u64(FEED), EventFlags::IN)?;
        let mut floor = Self {
            epoll,
            listener,
            feed,
            partial: Vec::new(),
            head: Vec::new(),
            log: Vec::new(),
            base: 0,
            written: 0,
            viewers: Vec::new(),
        };
        // Whoever comes gets what the stream starts with.
        while floor.head.is_empty() && floor.take()? {}
        floor.feed.set_nonblocking(true)?;
        Ok(floor)
    }

    fn accept(&mut self) -> std::io::Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            let number = EventData::new_u64(self.viewers.len() as u64);
            epoll::add(&self.epoll, &socket, number, flags)?;
            self.viewers.push(Some(Viewer {
                socket,
                position: None,
            }));
        }
        Ok(())
    }

    /// Takes what the feed has; false when it ended.
    fn take(&mut self) -> std::io::Result<bool> {
        let start = self.partial.len();
        self.partial.resize(start + CHUNK, 0);
        let read = match self.feed.read(&mut self.partial[start..]) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.partial.truncate(start + read);
        let mut used = 0;
        while let Some((length, rest)) = self.partial[used..].split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(message) = rest.get(..length) else {
                break;
            };
            if self.head.is_empty() {
                self.head.extend_from_slice(message);
            } else {
                self.log.extend_from_slice(message);
            }
            used += 4 + length;
        }
        self.partial.drain(..used);
        Ok(true)
    }

    fn serve(&mut self, number: usize, flags: EventFlags) {
        let Some(viewer) = &mut self.viewers[number] else {
            return;
        };
        let mut request = [0; 4096];
        let mut open = true;
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            open = match viewer.socket.read(&mut request) {
                Ok(0) => false,
                Ok(_) if viewer.position.is_none() => {
                    viewer.position = Some(self.base + self.log.len());
                    write(&viewer.socket, &[ANSWER, &self.head].concat()).is_ok()
                }
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            };
        }
        if open && viewer.position.is_some_and(|at| at < self.written) {
            open = viewer.write(&self.log, self.base);
        }
        if !open {
            self.viewers[number] = None;
        }
    }

    fn write_all(&mut self) {
        let end = self.base + self.log.len();
        if self.written == end {
            return;
        }
        let mut slowest = end;
        for place in &mut self.viewers {
            let Some(viewer) = place else { continue };
            if viewer.position.is_some() && !viewer.write(&self.log, self.base) {
                *place = None;
                continue;
            }
            slowest = slowest.min(viewer.position.unwrap_or(end));
        }
        self.written = end;
        if slowest == end {
            self.log.clear();
            self.base = end;
        } else if self.log.len() > 2 * BEHIND {
            let cut = self.log.len() - BEHIND;
            self.log.drain(..cut);
            self.base += cut;
        }
    }
}

impl Viewer {
    /// Writes what the socket takes; false when the viewer is gone or too far behind.
    fn write(&mut self, log: &[u8], base: usize) -> bool {
        let Some(position) = &mut self.position else {
            return true;
        };
        let Some(waits) = position.checked_sub(base).and_then(|at| log.get(at..)) else {
            return false;
        };
        match write(&self.socket, waits) {
            Ok(taken) => *position += taken,
            Err(Errno::AGAIN) => {}
            Err(_) => return false,
        }
        true
    }
}
