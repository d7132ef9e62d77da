//! A cluster with one edge that can be started again with other settings, on the cores that a benchmark wants.

use super::{
    CLIENT_CORE, SERVER_CORE,
    cluster::harness::{Cluster, EDGES, clips, ffmpeg},
    process::pin,
    source::{Shape, Source},
};
use media::codec::Catalog;
use std::{fs, net::SocketAddr, path::Path};

/// Without limits or tokens, which are not what is measured.
const EXTRA: &str = "capacity = { egress_mbps = 0, viewers = 0 }\n[tokens]\nplay = \"open\"\n";
const NAME: &str = EDGES[0].0;

pub struct Stage {
    cluster: Cluster,
    /// The edge's file as it is without further settings.
    plain: String,
    catalog: Catalog,
}

impl Stage {
    /// A scheduler, an origin and an edge, all of them and this thread on the clients' core.
    pub fn new() -> Self {
        pin(&[CLIENT_CORE]);
        let cluster = Cluster::with(1, EXTRA);
        let plain = fs::read_to_string(&cluster.node(NAME).config).expect("it was written");
        let clip = fs::read(clips::h264()).expect("it was made");
        let catalog = media::mp4::read(clip.into()).expect("an MP4").catalog;
        Self {
            cluster,
            plain,
            catalog,
        }
    }

    /// Puts a stream of this rate on air.
    pub fn publish(&self, stream: &str, kbits: u64) -> Source {
        self.publish_all(&[stream.into()], Shape::of_rate(kbits))
    }

    /// Puts streams of this shape on air.
    pub fn publish_all(&self, streams: &[String], shape: Shape) -> Source {
        let urls = streams
            .iter()
            .map(|stream| self.cluster.publish_url(stream));
        let source = Source::start(&self.catalog, shape, urls.collect());
        streams
            .iter()
            .for_each(|stream| self.cluster.wait_on_air(stream));
        source
    }

    /// Has ffmpeg put a clip on air.
    pub fn publish_clip(&self, stream: &str, clip: &Path) -> ffmpeg::Running {
        let publisher = ffmpeg::publish(clip, &self.cluster.publish_url(stream), &[]);
        self.cluster.wait_on_air(stream);
        publisher
    }

    /// The edge anew, with these lines in its `[edge]`, on these cores.
    pub fn restart(&mut self, settings: &str, cores: &[usize]) {
        let text = self
            .plain
            .replacen("[edge]\n", &format!("[edge]\n{settings}\n"), 1);
        fs::write(&self.cluster.node(NAME).config, text).expect("it is ours");
        self.cluster.kill(NAME);
        pin(cores);
        self.cluster.restart(NAME);
        pin(&[CLIENT_CORE]);
    }

    /// The edge anew, on the servers' core, gathering for so long.
    pub fn restart_gathering(&mut self, budget_ms: u64) {
        self.restart(&Self::gathering(budget_ms), &[SERVER_CORE]);
    }

    /// The setting that makes the edge gather for so long, whatever its load.
    pub fn gathering(budget_ms: u64) -> String {
        format!("flv.latency = \"{budget_ms}ms\"")
    }

    pub fn address(&self) -> SocketAddr {
        let public = &self.cluster.node(NAME).public;
        public.parse().expect("an address")
    }

    /// Where the scheduler has this file of a stream.
    pub fn redirected(&self, file: &str) -> String {
        format!("http://{}/{file}?ip={}", self.cluster.scheduler, EDGES[0].3)
    }

    /// Waits until the scheduler sends viewers of a stream here.
    pub fn wait_on_air(&self, stream: &str) {
        self.cluster.wait_on_air(stream);
    }

    pub fn pid(&self) -> u32 {
        self.cluster.node(NAME).pid()
    }

    /// The sum of a metric's samples at the edge whose line contains `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        self.cluster.node(NAME).metric(name, label)
    }
}
