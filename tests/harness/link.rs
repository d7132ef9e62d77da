//! A network link made here: two network namespaces and a process that carries packets between them.
//!
//! Each end is a namespace with a kernel TCP of its own (its congestion control named), joined to the
//! other by a TUN device at each end; [`emulator`] delays, drops, reorders, queues and rate-limits the IP
//! packets between them. The near end has one address, the far end one for each lane; a lane is a pair of
//! [`pipe`]s, so that each of 200 viewers can have a bad link of its own.
//! Needs Linux, root, /dev/net/tun and `ip` (iproute2); without one of them a test says so and passes.

use std::{
    fs::File,
    io::Write,
    net::Ipv4Addr,
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod emulator;
pub mod pipe;
pub mod trace;

use emulator::{Emulator, device, far_address};
use pipe::{Counts, Spec};
use trace::Trace;

/// An end of a link: servers usually stand at the near one, viewers at the far one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Near,
    Far,
}

/// A far address's own way, each direction for itself.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    pub to_far: Spec,
    pub to_near: Spec,
}

pub struct LinkSpec {
    /// At most 65,000.
    pub lanes: Vec<Lane>,
    /// The TCP congestion control of both ends: `cubic`, `bbr`.
    pub congestion: &'static str,
}

pub struct Link {
    names: [String; 2],
    emulator: Option<Emulator>,
}

/// While this lives, its thread is at an end of a link: sockets, and processes it starts, are there.
pub struct Inside {
    home: File,
    /// A namespace is entered by a thread: the way back is that thread's too.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Link {
    /// `None`, said on standard error, where links cannot be made.
    pub fn new(spec: &LinkSpec) -> Option<Self> {
        if let Err(missing) = possible(spec.congestion) {
            eprintln!("skipped: no link can be emulated here: {missing}");
            return None;
        }
        Some(Self::build(spec))
    }

    pub fn near(&self) -> Ipv4Addr {
        NEAR_ADDRESS
    }

    /// The address of a lane at the far end; packets to and from it take this lane.
    pub fn far(&self, lane: usize) -> Ipv4Addr {
        far_address(lane)
    }

    /// A program to be run at an end. What runs there when the link is dropped is cut off, not ended.
    pub fn command(&self, end: End, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name(end)]).arg(program);
        command
    }

    /// Moves this thread to an end, with all processes and threads that it starts there.
    pub fn enter(&self, end: End) -> Inside {
        enter(self.name(end))
    }

    /// What became of a lane's packets so far on the way to an end.
    pub fn counts(&self, lane: usize, to: End) -> Counts {
        let emulator = self
            .emulator
            .as_ref()
            .expect("it lives as long as the link");
        let ledger = emulator.ledger.lock().expect("nobody panics with it");
        ledger[lane][if to == End::Far { 0 } else { 1 }]
    }

    fn build(spec: &LinkSpec) -> Self {
        remove_leftovers();
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("{PREFIX}{}-{number}-{end}", std::process::id());
        let mut link = Self {
            names: [name("near"), name("far")],
            emulator: None,
        };
        let lanes: Vec<_> = (0..spec.lanes.len()).map(far_address).collect();
        let to_far = format!("198.19.0.0/16 dev {DEVICE} src {NEAR_ADDRESS}");
        let to_near = format!("{NEAR_ADDRESS}/32 dev {DEVICE} src {}", far_address(0));
        let ends = [(&[NEAR_ADDRESS][..], to_far), (&lanes[..], to_near)];
        let devices = ends.map(|(addresses, route)| {
            let name = &link.names[usize::from(addresses != [NEAR_ADDRESS])];
            ip(&["netns", "add", name], "");
            let opened = {
                let _inside = enter(name);
                device(DEVICE, MTU).expect("a TUN device")
            };
            set_up(name, addresses, &route, spec.congestion);
            opened
        });
        let [near, far] = devices;
        link.emulator = Some(Emulator::start(near, far, &spec.lanes).expect("a thread"));
        link
    }

    fn name(&self, end: End) -> &str {
        &self.names[usize::from(end == End::Far)]
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.emulator = None;
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        back.expect("a thread may go back to where it came from");
    }
}

/// The recorded last miles beside the repository whose names begin with `family`; elsewhere made-up ones.
pub fn last_miles(family: &str, mean_bps: u64) -> Vec<Trace> {
    let table = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/links/links.csv.gz"
    );
    let run = Command::new("gzip").args(["-dc", table]).output();
    let text = run.map(|run| String::from_utf8_lossy(&run.stdout).into_owned());
    let mut traces = Trace::table(&text.unwrap_or_default());
    traces.retain(|trace| trace.id.starts_with(family));
    if traces.is_empty() {
        traces.extend((0..100).map(|seed| Trace::made(seed, mean_bps, 300)));
    }
    traces
}

fn enter(name: &str) -> Inside {
    let home = File::open("/proc/thread-self/ns/net").expect("/proc is there");
    let there = File::open(format!("/run/netns/{name}")).expect("the namespace was made");
    move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("root may enter a namespace");
    Inside {
        home,
        _thread: std::marker::PhantomData,
    }
}

/// What is missing for a link, if something is.
fn possible(congestion: &str) -> Result<(), String> {
    static MACHINE: OnceLock<Result<(), String>> = OnceLock::new();
    MACHINE.get_or_init(machine).clone()?;
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let known = known.map_err(|error| format!("congestion controls: {error}"))?;
    let there = known.split_whitespace().any(|name| name == congestion);
    there
        .then_some(())
        .ok_or_else(|| format!("the kernel has no congestion control {congestion}"))
}

/// Root alone is not enough: a container may keep namespaces and devices from it.
fn machine() -> Result<(), String> {
    let name = format!("{PREFIX}{}-probe", std::process::id());
    let ip = |does| Command::new("ip").args(["netns", does, &name]).output();
    let made = ip("add").map_err(|error| format!("ip (iproute2): {error}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).trim().into());
    }
    let opened = {
        let _inside = enter(&name);
        device(DEVICE, MTU)
    };
    let _ = ip("del");
    opened
        .map(drop)
        .map_err(|error| format!("/dev/net/tun: {error}"))
}

/// Addresses and the route to the other end.
fn set_up(name: &str, addresses: &[Ipv4Addr], route: &str, congestion: &str) {
    let mut lines = format!(
        "link set lo up\nlink set {DEVICE} mtu {MTU} txqueuelen {DEVICE_QUEUE}\nlink set {DEVICE} up\n"
    );
    for address in addresses {
        lines += &format!("addr add {address}/32 dev {DEVICE}\n");
    }
    // A route's own: a namespace's default may only be what the whole machine allows to everybody.
    lines += &format!("route add {route} congctl {congestion}\n");
    ip(&["-n", name, "-batch", "-"], &lines);
    // A connection learns nothing from those before it (tcp_metrics(8)).
    let _inside = enter(name);
    std::fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1").expect("root may set it");
}

/// Runs `ip`, which must succeed, with these lines as its input.
fn ip(arguments: &[&str], lines: &str) {
    let mut command = Command::new("ip");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().expect("ip runs");
    let mut input = process.stdin.take().expect("it is piped");
    input.write_all(lines.as_bytes()).expect("ip reads");
    drop(input);
    let output = process.wait_with_output().expect("ip ends");
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments:?}: {fault}\n{lines}"
    );
}

/// Namespaces of processes that were killed; their devices went with the processes.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

static LINKS: AtomicU32 = AtomicU32::new(0);

/// RFC 2544: for measurements, never routed.
const NEAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PREFIX: &str = "weir-link-";
const DEVICE: &str = "link0";
/// Ethernet's, which most of the world's paths have.
const MTU: u16 = 1500;
/// Packets between the kernel and the emulator: enough for any burst, so that only a pipe's queue drops.
const DEVICE_QUEUE: u32 = 10_000;
