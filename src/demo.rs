//! `weir demo`: a whole cluster in this process, on loopback, with a test picture on air.
//!
//! The nodes are the real ones and talk over real sockets; only the distance between them is missing.

use crate::{config::Config, console, load, logs, roles};
use anyhow::{Context, Result, bail};
use clap::Args;
use cluster::{
    config::Secret,
    node::{NodeId, Place},
    stream::StreamKey,
    token::{Action, Claims, Keys, Pattern},
};
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::JoinSet;
use transport::{clock::unix_ms, drain::Drain};

/// Where the demo listens and what it shows.
#[derive(Args)]
pub struct Options {
    /// The name or address by which other machines reach this one; listeners then leave loopback.
    #[arg(long)]
    host: Option<String>,
    /// The scheduler's public port; the console and the edges take those that follow.
    #[arg(long, default_value_t = 8080)]
    port_base: u16,
    /// The port for publishers.
    #[arg(long, default_value_t = 1935)]
    rtmp_port: u16,
    /// What to put on air as live/demo, round and round.
    #[arg(long, default_value = CLIP)]
    clip: PathBuf,
    /// The same clip, smaller, which goes on air beside it as a rung that players may switch to; none with --clip of
    /// your own.
    #[arg(long, default_value = "var/rung.mp4")]
    rung: PathBuf,
    /// A country database, so that viewers from elsewhere are placed too.
    #[arg(long, default_value = "var/country.mmdb")]
    geoip: PathBuf,
    /// Serve viewers by TLS, with certificates that the browser must be told to trust: for HTTP/2.
    #[arg(long)]
    tls: bool,
    /// Logging: `info`, `debug`, or by module as in `warn,relay=debug`.
    #[arg(long, default_value = "warn")]
    log: String,
}

/// Runs until stopped.
pub async fn run(options: Options) -> Result<()> {
    if !options.clip.exists() {
        bail!(
            "there is no clip at {}: `make setup` makes it, or name one with --clip",
            options.clip.display()
        );
    }
    let log = logs::Config {
        level: options.log.clone(),
        format: logs::Format::Text,
    };
    let drain = roles::start(&log)?;
    let demo = Demo::new(&options)?;
    let scheduler = demo.scheduler(&options, &drain).await?;
    let origin = demo.origin(&drain).await?;
    let mut nodes = JoinSet::new();
    nodes.spawn(scheduler.run());
    nodes.spawn(async {
        origin.run().await;
        Ok(())
    });
    for number in 0..EDGES {
        let edge = demo.edge(number, &drain).await?;
        nodes.spawn(async {
            edge.run().await;
            Ok(())
        });
    }
    for (stream, clip) in demo.shows(&options) {
        tokio::spawn(keep_on_air(demo.publish_url(stream)?, clip));
    }
    demo.greet()?;
    while let Some(ended) = nodes.join_next().await {
        ended.context("a node panicked")??;
    }
    Ok(())
}

struct Demo {
    host: String,
    /// Loopback, or every address when other machines shall watch.
    bind: IpAddr,
    base: u16,
    rtmp: SocketAddr,
    cluster: SocketAddr,
    secret: String,
    admin_token: Option<String>,
    /// What the edges show to viewers, if they use TLS.
    tls: Option<edge::config::Tls>,
    files: tempfile::TempDir,
}

impl Demo {
    fn new(options: &Options) -> Result<Self> {
        let bind: IpAddr = match options.host {
            Some(_) => Ipv6Addr::UNSPECIFIED.into(),
            None => Ipv4Addr::LOCALHOST.into(),
        };
        let files = tempfile::tempdir().context("a folder for temporary files")?;
        std::fs::write(files.path().join("zones.csv"), zones())?;
        let host = options.host.clone().unwrap_or_else(|| "127.0.0.1".into());
        let tls = options.tls.then(|| certificate(&host, files.path()));
        Ok(Self {
            host,
            tls: tls.transpose()?,
            bind,
            base: options.port_base,
            rtmp: (bind, options.rtmp_port).into(),
            cluster: free_port()?,
            secret: random_word(),
            admin_token: options.host.as_ref().map(|_| random_word()),
            files,
        })
    }

    /// What all nodes of the demo share.
    fn config(&self, id: &str, place: &Metro) -> Result<Config> {
        let mut config = Config::default();
        config.node.id = Some(NodeId::parse(id)?);
        config.node.place = place.place();
        config.cluster.secret = Secret::new(self.secret.clone());
        config.cluster.schedulers = vec![format!("https://{}", self.cluster)];
        config.admin.listen = (Ipv4Addr::LOCALHOST, 0).into();
        Ok(config)
    }

    async fn scheduler(&self, options: &Options, drain: &Drain) -> Result<scheduler::Scheduler> {
        let mut config = self.config("scheduler", &METROS[1])?;
        config.cluster.schedulers.clear();
        config.admin.listen = (self.bind, self.base + 1).into();
        config.admin.token = self.admin_token.clone().map(Secret::new);
        config.admin.names = vec![self.host.clone()];
        config.scheduler.listen = (self.bind, self.base).into();
        config.scheduler.cluster_listen = self.cluster;
        config.scheduler.public_url = Some(format!("http://{}:{}", self.host, self.base));
        config.scheduler.allow_ip_override = true;
        if options.host.is_some() {
            // A page on another machine may say where it is, too: this is a demonstration.
            let anybody = ["0.0.0.0/0", "::/0"].map(|all| all.parse().expect("a network"));
            config.scheduler.trusted_proxies = anybody.into();
        }
        config.scheduler.places = METROS.iter().map(Metro::watcher).collect();
        config.geo.zones = Some(self.files.path().join("zones.csv"));
        if options.geoip.exists() {
            config.geo.databases = vec![options.geoip.clone()];
        }
        let common = config.common();
        let pages = Some(console::router());
        scheduler::Scheduler::load(config.scheduler, config.geo, common, pages, drain.clone())
            .await
            .with_context(|| busy(self.base))?
            .streams(&self.ladder(options)?)
    }

    /// What is on air, and the clip of each.
    fn shows(&self, options: &Options) -> Vec<(&'static str, PathBuf)> {
        let mut shows = vec![(SHOW, options.clip.clone())];
        if options.clip == Path::new(CLIP) && options.rung.exists() {
            shows.push((RUNG, options.rung.clone()));
        }
        shows
    }

    /// That they are rungs of one another, when there are two.
    fn ladder(&self, options: &Options) -> Result<Vec<scheduler::config::Stream>> {
        let shows = self.shows(options);
        let rungs: Vec<StreamKey> = shows
            .iter()
            .map(|(stream, _)| StreamKey::parse(stream))
            .collect::<Result<_, _>>()?;
        let both = (rungs.len() > 1).then(|| scheduler::config::Stream {
            labels: Vec::new(),
            name: rungs[0].clone(),
            rungs,
        });
        Ok(both.into_iter().collect())
    }

    async fn origin(&self, drain: &Drain) -> Result<origin::Origin> {
        let mut config = self.config("origin", &METROS[1])?;
        config.origin.listen = self.rtmp;
        config.origin.relay_listen = free_port()?;
        config.origin.drain = LEAVE;
        let common = config.common();
        origin::Origin::load(config.origin, config.hls, common, drain.clone())
            .await
            .with_context(|| format!("--rtmp-port chooses another port than {}", self.rtmp.port()))
    }

    async fn edge(&self, number: usize, drain: &Drain) -> Result<edge::Edge> {
        let metro = &METROS[number];
        let mut config = self.config(&format!("edge-{}", metro.name.to_lowercase()), metro)?;
        let port = self.base + 2 + number as u16;
        config.edge.listen = (self.bind, port).into();
        config.edge.public_url = Some(self.edge_url(number));
        config.edge.tls = self.tls.clone();
        config.edge.relay_listen = free_port()?;
        config.edge.drain = LEAVE;
        let common = config.common();
        edge::Edge::load(config.edge, common, drain.clone())
            .await
            .with_context(|| busy(self.base))
    }

    fn edge_url(&self, number: usize) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.base + 2 + number as u16)
    }

    fn publish_url(&self, stream: &str) -> Result<String> {
        let keys = Keys::derive(&self.secret)?;
        let exp_s = unix_ms() / 1000 + A_DAY_S;
        let claims = Claims::new(Pattern::parse(stream)?, Action::Publish, exp_s);
        let token = keys.sign(&claims);
        Ok(format!(
            "rtmp://{}:{}/{stream}?token={token}",
            self.host,
            self.rtmp.port()
        ))
    }

    fn greet(&self) -> Result<()> {
        let fragment = self
            .admin_token
            .as_ref()
            .map(|t| format!("#token={t}"))
            .unwrap_or_default();
        let (host, base) = (&self.host, self.base);
        let own = self.publish_url("live/mine")?;
        let (server, key) = own.rsplit_once('/').context("a URL has a path")?;
        // Nobody may be reading; the cluster runs all the same.
        let _ = writeln!(
            std::io::stdout(),
            "Weir is running: an origin, a scheduler, and edges in Shanghai, Frankfurt and Virginia.

  Look      http://{host}:{next}/{fragment}
  Play      ffplay http://{host}:{base}/live/demo.flv
            ffplay http://{host}:{base}/live/demo.m3u8
  Explain   weir explain live/demo --from 203.0.113.1 --admin http://{host}:{next}

  Publish your own with ffmpeg:
            ffmpeg -re -i film.mp4 -c:v libx264 -c:a aac -f flv '{own}'
  or with OBS (Settings, Stream, Custom):
            server      {server}
            stream key  {key}
  and play  http://{host}:{base}/live/mine.flv

  Ctrl-C ends it.",
            next = base + 1,
        );
        if self.tls.is_some() {
            let edges: Vec<_> = (0..EDGES).map(|number| self.edge_url(number)).collect();
            let _ = writeln!(
                std::io::stdout(),
                "\n  First let the browser trust the edges: {}",
                edges.join("  ")
            );
        }
        Ok(())
    }
}

/// A certificate that signs itself, for this name or address, as files.
fn certificate(host: &str, folder: &Path) -> Result<edge::config::Tls> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])?;
    let files = edge::config::Tls {
        cert: folder.join("edge.pem"),
        key: folder.join("edge.key"),
    };
    std::fs::write(&files.cert, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(files)
}

/// Publishes the clip; dials again when the connection is lost.
async fn keep_on_air(url: String, clip: PathBuf) {
    loop {
        if let Err(error) = on_air(&url, &clip).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "the demo's picture is off air, dialling again"
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn on_air(url: &str, clip: &Path) -> Result<()> {
    load::publish::round_and_round(url, load::read_clip(clip)?).await
}

/// A place to watch from; the first three also have an edge.
struct Metro {
    name: &'static str,
    country: &'static str,
    lat: f64,
    lon: f64,
    /// A documentation prefix (RFC 5737), so that no real address is moved.
    prefix: &'static str,
}

impl Metro {
    /// Somebody there, for the console's "I am in ...".
    fn watcher(&self) -> scheduler::config::Place {
        let (network, _) = self.prefix.split_once('/').expect("a prefix has a length");
        let address = network.parse().expect("a prefix begins with an address");
        scheduler::config::Place {
            name: self.name.into(),
            address,
        }
    }

    fn place(&self) -> Place {
        Place {
            lat: self.lat,
            lon: self.lon,
            name: self.name.into(),
            country: Some(self.country.into()),
        }
    }
}

const fn metro(
    name: &'static str,
    country: &'static str,
    lat: f64,
    lon: f64,
    prefix: &'static str,
) -> Metro {
    Metro {
        name,
        country,
        lat,
        lon,
        prefix,
    }
}

const CLIP: &str = "var/clip.mp4";
const SHOW: &str = "live/demo";
const RUNG: &str = "live/demo_180";
const EDGES: usize = 3;
const METROS: [Metro; 9] = [
    metro("Shanghai", "CN", 31.23, 121.47, "203.0.113.0/26"),
    metro("Frankfurt", "DE", 50.11, 8.68, "192.0.2.0/26"),
    metro("Virginia", "US", 38.95, -77.45, "198.51.100.0/26"),
    metro("Tokyo", "JP", 35.68, 139.69, "203.0.113.64/26"),
    metro("Mumbai", "IN", 19.08, 72.88, "203.0.113.128/26"),
    metro("London", "GB", 51.51, -0.13, "192.0.2.64/26"),
    metro("Nairobi", "KE", -1.29, 36.82, "192.0.2.128/26"),
    metro("São Paulo", "BR", -23.55, -46.63, "198.51.100.64/26"),
    metro("San Francisco", "US", 37.77, -122.42, "198.51.100.128/26"),
];
const A_DAY_S: u64 = 86_400;
/// Who stops a demonstration wants it to stop.
const LEAVE: transport::config::Duration = transport::config::Duration::from_secs(1);

/// The coverage-zone file of the demo: each documentation prefix stands for a metro.
fn zones() -> String {
    let line = |m: &Metro| format!("{},{},{},{}\n", m.prefix, m.lat, m.lon, m.name);
    METROS.iter().map(line).collect()
}

/// A port of the loopback interface that is free for UDP and TCP now.
fn free_port() -> Result<SocketAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(socket.local_addr()?)
}

fn busy(base: u16) -> String {
    format!(
        "--port-base chooses other ports than {base} to {}",
        base + 1 + EDGES as u16
    )
}

/// A secret of this run alone.
fn random_word() -> String {
    format!("{:032x}", rand::random::<u128>())
}
