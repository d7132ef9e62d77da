//! The thread that carries packets between the TUN devices of a link's two ends, each through its pipe.
//!
//! It reads what there is, a bounded batch for each end, hands on what is due, and sleeps until the next
//! packet is due or comes (ppoll: to a fraction of a millisecond). What belongs to no lane (IPv6 neighbour
//! discovery, say) goes nowhere. Devices offer no offload: a pipe sees the packets that a wire would see.

use super::{
    Lane,
    pipe::{Counts, Pipe},
};
use bytes::Bytes;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open, setpriority_process},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Counts of each lane: to the far end, to the near end.
pub type Ledger = Arc<Mutex<Vec<[Counts; 2]>>>;

pub struct Emulator {
    thread: Option<JoinHandle<()>>,
    stop: File,
    pub ledger: Ledger,
}

impl Emulator {
    /// Carries packets between `near` and `far`; a packet's lane is that of its address at the far end.
    pub fn start(near: File, far: File, lanes: &[Lane]) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let ledger = Ledger::new(Mutex::new(vec![Default::default(); lanes.len()]));
        let pipes = |lane: &Lane| {
            [
                Pipe::new(lane.to_far.clone()),
                Pipe::new(lane.to_near.clone()),
            ]
        };
        let mut carrier = Carrier {
            ends: [near, far],
            pipes: lanes.iter().flat_map(pipes).collect(),
            due: vec![None; lanes.len() * 2],
            ledger: ledger.clone(),
            buffer: vec![0; MAX_PACKET],
        };
        let stopped = stop.try_clone()?;
        let thread = std::thread::Builder::new()
            .name("link".into())
            .spawn(move || carrier.run(&stopped))?;
        Ok(Self {
            thread: Some(thread),
            stop: stop.into(),
            ledger,
        })
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.stop.write(&1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes the TUN device `name` in the network namespace of this thread.
pub fn device(name: &str, mtu: u16) -> io::Result<File> {
    let mut config = tun::Configuration::default();
    config.tun_name(name).mtu(mtu);
    // `ip` brings it up: where the namespace's addresses are given, too.
    config.platform_config(|platform| {
        platform.ensure_root_privileges(false);
    });
    let device = tun::create(&config).map_err(io::Error::other)?;
    device.set_nonblock()?;
    // The crate lends a number only; this makes a descriptor of it that can be polled.
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let descriptor = pidfd_getfd(this, device.as_raw_fd(), PidfdGetfdFlags::empty())?;
    Ok(descriptor.into())
}

/// The address of a lane at the far end: 198.19.0.1 and so on (RFC 2544: for measurements, never routed).
pub fn far_address(lane: usize) -> Ipv4Addr {
    let [high, low] = (lane as u16 + 1).to_be_bytes();
    Ipv4Addr::new(198, 19, high, low)
}

struct Carrier {
    ends: [File; 2],
    /// Two for each lane: to the far end, to the near end.
    pipes: Vec<Pipe>,
    due: Vec<Option<Instant>>,
    ledger: Ledger,
    buffer: Vec<u8>,
}

impl Carrier {
    fn run(&mut self, stop: &OwnedFd) {
        // Late packets would be the machine's fault, not the link's; without the right it stays as it is.
        let _ = setpriority_process(None, -10);
        loop {
            for from in 0..2 {
                self.take(from);
            }
            self.deliver();
            match self.wait(stop) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => panic!("a link's devices cannot be polled: {error}"),
            }
        }
    }

    /// Reads what an end has sent.
    fn take(&mut self, from: usize) {
        for _ in 0..BATCH {
            let Ok(length) = self.ends[from].read(&mut self.buffer) else {
                return;
            };
            let packet = &self.buffer[..length];
            let Some(lane) = lane(packet, from).filter(|lane| lane * 2 < self.pipes.len()) else {
                continue;
            };
            let pipe = lane * 2 + from;
            self.pipes[pipe].push(Instant::now(), Bytes::copy_from_slice(packet));
            self.due[pipe] = self.pipes[pipe].next_at();
        }
    }

    /// Hands on what has arrived.
    fn deliver(&mut self) {
        let now = Instant::now();
        for pipe in 0..self.pipes.len() {
            if self.due[pipe].is_none_or(|due| due > now) {
                continue;
            }
            while let Some(packet) = self.pipes[pipe].pop(now) {
                // A device that is down, or whose receiver has no memory, loses packets as a wire would.
                let _ = self.ends[1 - pipe % 2].write(&packet);
            }
            self.due[pipe] = self.pipes[pipe].next_at();
            let counts = self.pipes[pipe].counts();
            self.ledger.lock().expect("nobody panics with it")[pipe / 2][pipe % 2] = counts;
        }
    }

    /// Sleeps until there is something to do; `false` when it is over.
    fn wait(&self, stop: &OwnedFd) -> io::Result<bool> {
        let mut descriptors = [
            PollFd::new(&self.ends[0], PollFlags::IN),
            PollFd::new(&self.ends[1], PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        let due = self.due.iter().flatten().min();
        let sleep = due.map(|due| due.saturating_duration_since(Instant::now()));
        let sleep: Option<Timespec> = sleep.map(|sleep| {
            Timespec::try_from(sleep.min(LONGEST_SLEEP)).expect("a second is a timespec")
        });
        match poll(&mut descriptors, sleep.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(descriptors[2].revents().is_empty())
    }
}

/// The lane of an IPv4 packet (RFC 791: destination at 16, source at 12) that came from an end.
fn lane(packet: &[u8], from: usize) -> Option<usize> {
    let at = if from == NEAR { 16 } else { 12 };
    let address: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    let number = usize::from(u16::from_be_bytes([address[2], address[3]]));
    let ours = packet[0] >> 4 == 4 && address[..2] == far_address(0).octets()[..2];
    number.checked_sub(1).filter(|_| ours)
}

const NEAR: usize = 0;
/// An IP packet's largest size: whatever MTU a device has.
const MAX_PACKET: usize = 65_535;
/// Packets read from one end before the other one's turn and what is due: some 0.1 ms of work.
const BATCH: usize = 32;
/// Between looks at a link on which nothing happens for long.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
