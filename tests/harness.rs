//! A real cluster on loopback: each node its own process and file, as an operator runs them.
//!
//! Everything here waits with a deadline for something to be true; nothing waits for a time to pass.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

pub mod clips;
pub mod crowd;
pub mod detour;
pub mod ffmpeg;
pub mod hls;
pub mod link;
pub mod page;
pub mod script;

pub const SECRET: &str = "a secret of the integration tests";
/// Long enough for a busy machine to start a process or to notice a death; a pass takes far less.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Edges of the test cluster with the address of a viewer beside each (documentation prefixes, RFC 5737).
pub const EDGES: [(&str, f64, f64, &str); 3] = [
    ("shanghai", 31.23, 121.47, "203.0.113.1"),
    ("frankfurt", 50.11, 8.68, "192.0.2.1"),
    ("virginia", 38.95, -77.45, "198.51.100.1"),
];

/// A test that loads the whole machine takes this for itself; all others share it.
static MACHINE: RwLock<()> = RwLock::new(());

pub enum Share {
    Some {
        _guard: RwLockReadGuard<'static, ()>,
    },
    All {
        _guard: RwLockWriteGuard<'static, ()>,
    },
    /// It is another cluster's of the same test, which outlives this one.
    Beside,
}

impl Share {
    /// A test that failed while it held the machine left nothing broken in it.
    pub fn some() -> Self {
        Self::Some {
            _guard: MACHINE.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn all() -> Self {
        Self::All {
            _guard: MACHINE.write().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

pub struct Cluster {
    dir: tempfile::TempDir,
    nodes: BTreeMap<String, Node>,
    pub scheduler: String,
    pub scheduler_admin: String,
    pub rtmp: u16,
    _share: Share,
}

pub struct Node {
    pub process: Child,
    /// Its file, read again when it is restarted.
    pub config: PathBuf,
    pub role: &'static str,
    pub public: String,
    pub admin: String,
    pub ports: BTreeMap<&'static str, u16>,
}

impl Cluster {
    /// A scheduler, an origin and the first `edges` of [`EDGES`], all ready.
    pub fn start(edges: usize) -> Self {
        Self::with(edges, "")
    }

    /// The same; `extra` is added to every edge's `[edge]` section.
    pub fn with(edges: usize, extra: &str) -> Self {
        Self::build(edges, extra, Share::some())
    }

    /// The same, while no other cluster runs in this process.
    pub fn alone(edges: usize, extra: &str) -> Self {
        Self::build(edges, extra, Share::all())
    }

    /// The same beside another cluster, whose share of the machine it has.
    pub fn beside(_other: &Self, edges: usize, extra: &str) -> Self {
        Self::build(edges, extra, Share::Beside)
    }

    fn build(edges: usize, extra: &str, share: Share) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, rtmp) = (port(), port());
        let mut made = Self {
            dir,
            nodes: BTreeMap::new(),
            scheduler: String::new(),
            scheduler_admin: String::new(),
            rtmp,
            _share: share,
        };
        made.write_zones();
        made.start_scheduler(cluster);
        made.start_origin(cluster);
        for (name, lat, lon, _) in &EDGES[..edges] {
            made.start_edge(name, *lat, *lon, cluster, extra);
        }
        let names: Vec<_> = EDGES[..edges]
            .iter()
            .map(|edge| edge.0)
            .chain(["origin"])
            .collect();
        eventually("all nodes are up at the scheduler", || {
            let nodes = made.nodes_seen();
            names.iter().all(|name| {
                nodes
                    .iter()
                    .any(|(id, health)| id == name && health == "up")
            })
        });
        made
    }

    /// One more edge, with no place among [`EDGES`].
    pub fn add_edge(&mut self, name: &str, (lat, lon): (f64, f64), extra: &str) {
        let cluster = self.node("scheduler").ports["cluster"];
        self.start_edge(name, lat, lon, cluster, extra);
        eventually("the edge is up at the scheduler", || {
            let up = (name.to_owned(), "up".to_owned());
            self.nodes_seen().contains(&up)
        });
    }

    fn write_zones(&self) {
        let zone = |(name, lat, lon, address): &(&str, f64, f64, &str)| {
            format!(
                "[[zone]]\ncidr = \"{address}/24\"\nlat = {lat}\nlon = {lon}\nname = \"{name}\"\n"
            )
        };
        let text: String = EDGES.iter().map(zone).collect();
        fs::write(
            self.dir.path().join("zones.toml"),
            text.replace(".1/24", ".0/24"),
        )
        .unwrap();
    }

    fn start_scheduler(&mut self, cluster: u16) {
        let (public, admin) = (port(), port());
        let zones = self.dir.path().join("zones.toml");
        let text = format!(
            "[scheduler]\nlisten = \"[::]:{public}\"\ncluster_listen = \"[::]:{cluster}\"\n\
             public_url = \"http://127.0.0.1:{public}\"\nallow_ip_override = true\n\
             [geo]\nzones = {zones:?}\ndefault = {{ lat = 50.0, lon = 8.0 }}\n"
        );
        self.scheduler = format!("127.0.0.1:{public}");
        self.scheduler_admin = format!("127.0.0.1:{admin}");
        let ports = [("public", public), ("cluster", cluster)].into();
        self.launch("scheduler", "scheduler", cluster, admin, &text, ports);
    }

    fn start_origin(&mut self, cluster: u16) {
        let (relay, admin, rtmp) = (port(), port(), self.rtmp);
        let text = format!(
            "[origin]\nlisten = \"[::]:{rtmp}\"\nrelay_listen = \"[::]:{relay}\"\n\
             relay_public = \"127.0.0.1:{relay}\"\n"
        );
        self.launch(
            "origin",
            "origin",
            cluster,
            admin,
            &text,
            [("rtmp", rtmp), ("relay", relay)].into(),
        );
    }

    fn start_edge(&mut self, name: &str, lat: f64, lon: f64, cluster: u16, extra: &str) {
        let (public, relay, admin) = (port(), port(), port());
        let text = format!(
            "[edge]\nlisten = \"[::]:{public}\"\npublic_url = \"http://127.0.0.1:{public}\"\n\
             relay_listen = \"[::]:{relay}\"\nrelay_public = \"127.0.0.1:{relay}\"\n{extra}\n\
             [node.place]\nname = \"{name}\"\nlat = {lat}\nlon = {lon}\n"
        );
        self.launch(
            name,
            "edge",
            cluster,
            admin,
            &text,
            [("public", public), ("relay", relay)].into(),
        );
    }

    fn launch(
        &mut self,
        name: &str,
        role: &'static str,
        cluster: u16,
        admin: u16,
        text: &str,
        ports: BTreeMap<&'static str, u16>,
    ) {
        let config = self.dir.path().join(format!("{name}.toml"));
        let schedulers = match role {
            "scheduler" => String::new(),
            _ => format!("schedulers = [\"https://127.0.0.1:{cluster}\"]\n"),
        };
        let head = format!(
            "[node]\nid = \"{name}\"\n[cluster]\nsecret = \"${{WEIR_TEST_SECRET}}\"\n{schedulers}\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n"
        );
        fs::write(&config, head + text).unwrap();
        let public = ports.get("public").map(|port| format!("127.0.0.1:{port}"));
        let node = Node {
            process: spawn(role, &config),
            config,
            role,
            public: public.unwrap_or_default(),
            admin: format!("127.0.0.1:{admin}"),
            ports,
        };
        self.nodes.insert(name.into(), node);
        self.nodes[name].wait_ready();
    }

    pub fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap()
    }

    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[name]
    }

    /// SIGKILL: nothing is said goodbye to.
    pub fn kill(&mut self, name: &str) {
        let node = self.nodes.get_mut(name).unwrap();
        node.process.kill().unwrap();
        node.process.wait().unwrap();
    }

    /// SIGTERM; the process's exit is waited for.
    pub fn terminate(&mut self, name: &str) -> std::process::ExitStatus {
        let node = self.nodes.get_mut(name).unwrap();
        signal(&node.process, "TERM");
        wait_exit(&mut node.process)
    }

    /// Stops a node, changes its file, and starts it again.
    pub fn reconfigure(&mut self, name: &str, change: impl FnOnce(String) -> String) {
        assert!(self.terminate(name).success());
        let path = &self.node(name).config;
        let text = change(fs::read_to_string(path).unwrap());
        fs::write(path, text).unwrap();
        self.restart(name);
    }

    /// The same node again, same file, same ports.
    pub fn restart(&mut self, name: &str) {
        let node = self.nodes.get_mut(name).unwrap();
        node.process = spawn(node.role, &node.config);
        node.wait_ready();
    }

    /// (id, health) of every node, as the scheduler tells operators.
    pub fn nodes_seen(&self) -> Vec<(String, String)> {
        let answer = get(&self.scheduler_admin, "/api/v1/nodes");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
        let nodes = json.as_array().into_iter().flatten();
        nodes
            .map(|node| (text(&node["id"]), text(&node["health"])))
            .collect()
    }

    /// A URL through the redirect, as a viewer at this address would be answered.
    pub fn play_url(&self, stream: &str, address: &str) -> String {
        format!("http://{}/{stream}.flv?ip={address}", self.scheduler)
    }

    /// Where the redirect leads a viewer at this address: the full target, if there is one.
    pub fn redirect(&self, stream: &str, address: &str) -> Option<String> {
        let answer = get(&self.scheduler, &format!("/{stream}.flv?ip={address}"));
        answer.header("location").filter(|_| answer.status == 302)
    }

    /// The name of the edge to which a viewer at this address is sent.
    pub fn edge_for(&self, stream: &str, address: &str) -> Option<String> {
        let target = self.redirect(stream, address)?;
        let at = |node: &Node| {
            !node.public.is_empty() && target.contains(&format!("//{}/", node.public))
        };
        self.nodes
            .iter()
            .find(|(_, node)| at(node))
            .map(|(name, _)| name.clone())
    }

    pub fn publish_url(&self, stream: &str) -> String {
        let token = token("publish", stream);
        format!("rtmp://127.0.0.1:{}/{stream}?token={token}", self.rtmp)
    }

    /// Waits until the scheduler redirects viewers of a stream.
    pub fn wait_on_air(&self, stream: &str) {
        let address = EDGES[0].3;
        eventually("the stream is on air", || {
            self.redirect(stream, address).is_some()
        });
    }

    pub fn wait_off_air(&self, stream: &str) {
        let address = EDGES[0].3;
        eventually("the stream is off air", || {
            self.redirect(stream, address).is_none()
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (name, node) in &mut self.nodes {
            let _ = node.process.kill();
            let _ = node.process.wait();
            if std::thread::panicking() {
                let log = fs::read_to_string(node.config.with_extension("log")).unwrap_or_default();
                let start = log.len().saturating_sub(4000);
                eprintln!("--- log of {name}\n{}", log.get(start..).unwrap_or(&log));
            }
        }
    }
}

impl Node {
    fn wait_ready(&self) {
        eventually("the node is ready", || {
            get(&self.admin, "/readyz").status == 200
        });
    }

    /// The sum of a metric's samples whose line contains `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = String::from_utf8(get(&self.admin, "/metrics").body).unwrap();
        let of_name = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        let lines = text
            .lines()
            .filter(of_name)
            .filter(|line| line.contains(label));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

pub fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .env("WEIR_TEST_SECRET", SECRET)
        .env("WEIR_SECRET", SECRET);
    command
}

/// Runs a command of Weir that must succeed; its standard output.
pub fn weir_says(arguments: &[&str]) -> String {
    let run = weir().args(arguments).output().unwrap();
    assert!(
        run.status.success(),
        "weir {arguments:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8(run.stdout).unwrap()
}

pub fn token(action: &str, stream: &str) -> String {
    weir_says(&["token", "sign", "--action", action, "--stream", stream])
        .trim()
        .to_string()
}

fn spawn(role: &str, config: &Path) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(config.with_extension("log"))
        .unwrap();
    weir()
        .arg(role)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

pub fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(process.id().to_string())
        .status();
    assert!(sent.unwrap().success());
}

pub fn wait_exit(process: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    eventually("the process has ended", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Waits until `condition` holds, and says what did not when it never does.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    within(PATIENCE, what, &mut condition);
}

pub fn within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port free for TCP and UDP, below the range from which the system takes the ports of outgoing connections:
/// none of those can take it before its node listens.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let free = TcpListener::bind(("::", port)).is_ok() && UdpSocket::bind(("::", port)).is_ok();
        if free {
            return port;
        }
    }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim().into())
            .next()
    }
}

/// GET over a connection of its own; status 0 when nobody answers.
pub fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, "")
}

pub fn request(address: &str, method: &str, path: &str, headers: &str) -> Answer {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: 0\r\n{headers}\r\n"
        );
        stream.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let raw = ask().unwrap_or_default();
    let cut = raw
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(raw.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&raw[..cut]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    Answer {
        status,
        head,
        body: raw[cut..].to_vec(),
    }
}
