//! `[edge]`: where an edge listens, what it may carry and how long it waits.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time;

use anyhow::ensure;
use cluster::node;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use transport::config::{Bytes, Duration};

use crate::playback::hls;

/// `[edge]`: serves viewers, from one upstream subscription per stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Edge")]
pub struct Config {
    /// Where viewers connect: address and TCP port.
    pub listen: SocketAddr,
    /// The URL by which viewers reach this edge, as redirects name it: `"https://fra1.example.com"`.
    /// Left out, it is made of `listen`, which works on one machine only.
    pub public_url: Option<String>,
    /// Certificate for viewers; left out, viewers connect without TLS.
    pub tls: Option<Tls>,
    /// Where other nodes reach this edge: address and UDP port.
    pub relay_listen: SocketAddr,
    /// The `host:port` by which other nodes reach `relay_listen`.
    /// Left out, this edge takes streams but is not offered as a parent to others.
    pub relay_public: Option<String>,
    /// Whether this edge is the hub of its zone (`[node] zone`): the zone's other edges take their
    /// streams through it. It needs `relay_public`. A zone may have several: each stream goes
    /// through one of them, and another one stands by.
    pub hub: bool,
    /// Where to take streams from when no scheduler said so, as `host:port` of relay listeners:
    /// tried in this order.
    pub parents: Vec<String>,
    /// What this edge may carry.
    pub capacity: Capacity,
    /// Viewers' connections from one address (IPv6: one /64) at one time.
    pub max_connections_per_address: u32,
    /// How long a stream is kept coming after its last viewer left.
    pub linger: Duration,
    /// Memory for the streams: three quarters for cached groups, one quarter for what HLS made of them.
    pub cache: Bytes,
    /// How FLV is written to viewers.
    pub flv: Flv,
    /// How HLS is served.
    pub hls: Hls,
    /// What becomes of viewers who cannot keep up.
    pub slow: Slow,
    /// How long viewers may go on watching after the edge was told to stop.
    pub drain: Duration,
}

/// `[edge.tls]`: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EdgeTls")]
pub struct Tls {
    /// The certificate and those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[edge.capacity]`: at either limit, new viewers are sent to another edge or refused. SIGHUP makes a running edge read
/// it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EdgeCapacity")]
pub struct Capacity {
    /// Mbit/s towards viewers; 0 is no limit.
    pub egress_mbps: u64,
    /// Viewers at one time; 0 is no limit.
    pub viewers: u32,
}

/// `[edge.flv]`: how FLV is written to viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EdgeFlv")]
pub struct Flv {
    /// Threads that write to viewers without TLS; 0 is one per core.
    pub workers: u32,
    /// How long frames are gathered into one write: `"0ms"` to `"350ms"`, or `"adaptive"`, which is nothing while the
    /// core is idle and up to 100 ms under load. More costs delay and saves processor time.
    pub latency: Latency,
}

/// How long frames are gathered into one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latency {
    /// As the load asks.
    #[default]
    Adaptive,
    /// Always so long.
    Fixed(Duration),
}

impl Latency {
    /// The fixed time, if there is one.
    pub fn fixed(self) -> Option<time::Duration> {
        match self {
            Self::Adaptive => None,
            Self::Fixed(time) => Some(time.get()),
        }
    }
}

impl FromStr for Latency {
    type Err = transport::config::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            ADAPTIVE => Ok(Self::Adaptive),
            fixed => fixed.parse().map(Self::Fixed),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str(ADAPTIVE),
            Self::Fixed(time) => time.fmt(f),
        }
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Latency {
    fn schema_name() -> Cow<'static, str> {
        "Latency".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// What is written for [`Latency::Adaptive`].
const ADAPTIVE: &str = "adaptive";

/// `[edge.hls]`: how HLS and its low-latency form are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EdgeHls")]
pub struct Hls {
    /// How far back playlists go, at least three segments: how late a viewer may be who paused or rewound.
    /// What does not fit in `[edge] cache` is missing all the same.
    pub window: Duration,
    /// Who may fetch segments: `"none"`, whoever knows their address, which caches in front then share;
    /// `"token"`, who has the session of a playlist, checked here for each.
    pub segment_auth: Auth,
}

/// Who may fetch segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "SegmentAuth")]
pub enum Auth {
    /// Whoever knows their address.
    #[default]
    None,
    /// Who has a session, which playlists then write into the addresses.
    Token,
}

/// `[edge.slow]`: viewers who cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "EdgeSlow")]
pub struct Slow {
    /// A viewer so far behind goes on at a newer key frame; at least `"100ms"`. Half as far behind it loses the
    /// frames that no other refers to.
    pub skip_after: Duration,
    /// A viewer that is behind by so many bytes goes on there too; at least `"64KiB"`.
    pub queue: Bytes,
    /// A viewer that takes nothing, or completes no picture, for so long is closed; at least one second.
    pub close_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv6Addr::UNSPECIFIED, 8080).into(),
            public_url: None,
            tls: None,
            relay_listen: (Ipv6Addr::UNSPECIFIED, 7002).into(),
            relay_public: None,
            hub: false,
            parents: Vec::new(),
            capacity: Capacity::default(),
            // One address may be a carrier's NAT with many viewers behind it.
            max_connections_per_address: 8_192,
            linger: Duration::from_secs(10),
            cache: Bytes::from_mib(256),
            flv: Flv::default(),
            hls: Hls::default(),
            slow: Slow::default(),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            egress_mbps: 1_000,
            viewers: 5_000,
        }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            segment_auth: Auth::None,
        }
    }
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            skip_after: Duration::from_secs(3),
            queue: Bytes::from_mib(8),
            close_after: Duration::from_secs(20),
        }
    }
}

/// Made pieces share their payloads with the groups they came from while those are cached: they take less than this.
const HLS_SHARE: u64 = 4;
/// Nobody rewinds so far without a recording, and memory is not for that.
const LONGEST_WINDOW: time::Duration = time::Duration::from_secs(3_600);
/// Three target durations of two-second segments.
const SHORTEST_WINDOW: time::Duration = time::Duration::from_secs(6);
/// A shorter lag is what gathering frames into one write makes by itself.
const SHORTEST_SKIP: time::Duration = time::Duration::from_millis(100);
/// The kernel's own buffer takes as much before anything is noticed.
const SMALLEST_QUEUE: u64 = 64 << 10;
/// Longer gathering saves little more, and players begin to run dry.
const LONGEST_LATENCY: time::Duration = time::Duration::from_millis(350);
/// More threads than any machine has cores only cost switches between them.
const MOST_WORKERS: u32 = 1_024;
/// A retransmission after one loss takes up to a second.
const SHORTEST_CLOSE: time::Duration = time::Duration::from_secs(1);

impl From<Capacity> for node::Capacity {
    fn from(capacity: Capacity) -> Self {
        let egress_bps = capacity.egress_mbps.saturating_mul(1_000_000);
        Self {
            egress_bps,
            viewers: capacity.viewers,
        }
    }
}

impl Config {
    /// Refuses settings that make no sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Slow {
            skip_after,
            queue,
            close_after,
        } = self.slow;
        ensure!(
            !self.hub || self.relay_public.is_some(),
            "[edge] hub needs relay_public: other edges are to reach it there"
        );
        ensure!(
            skip_after.get() >= SHORTEST_SKIP,
            "[edge.slow] skip_after must be at least 100ms"
        );
        ensure!(
            queue.get() >= SMALLEST_QUEUE,
            "[edge.slow] queue must be at least 64KiB"
        );
        ensure!(
            close_after.get() >= SHORTEST_CLOSE,
            "[edge.slow] close_after must be at least 1s"
        );
        ensure!(
            self.flv
                .latency
                .fixed()
                .is_none_or(|time| time <= LONGEST_LATENCY),
            "[edge.flv] latency must be \"adaptive\" or at most 350ms"
        );
        ensure!(
            self.flv.workers <= MOST_WORKERS,
            "[edge.flv] workers must be at most {MOST_WORKERS}"
        );
        ensure!(
            (SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&self.hls.window.get()),
            "[edge.hls] window must be 6s to 1h"
        );
        Ok(())
    }

    /// Memory for cached groups.
    pub(crate) fn groups_bytes(&self) -> usize {
        self.cache.as_usize() - self.cache.as_usize() / HLS_SHARE as usize
    }

    /// How HLS is served.
    pub(crate) fn hls_settings(&self) -> hls::Settings {
        hls::Settings {
            window: self.hls.window.get(),
            cache_bytes: self.cache.get() / HLS_SHARE,
            auth: self.hls.segment_auth,
        }
    }

    /// The URL of this edge for viewers, without a slash at its end; `bound` is the real address.
    pub(crate) fn viewers_url(&self, bound: SocketAddr) -> String {
        if let Some(url) = &self.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        if bound.ip().is_unspecified() {
            format!("{scheme}://127.0.0.1:{}", bound.port())
        } else {
            format!("{scheme}://{bound}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default_and_writes_itself() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(config, Config::default());
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn waits_that_make_no_sense_are_refused() {
        let rows = [
            ("", true),
            ("[slow]\nskip_after = \"100ms\"\nclose_after = \"1s\"", true),
            ("[slow]\nskip_after = \"0s\"", false),
            ("[slow]\nclose_after = \"0s\"", false),
            ("[slow]\nqueue = \"1KiB\"", false),
            ("[flv]\nlatency = \"adaptive\"", true),
            ("[flv]\nlatency = \"0ms\"", true),
            ("[flv]\nlatency = \"350ms\"", true),
            ("[flv]\nlatency = \"351ms\"", false),
            ("[flv]\nworkers = 2000", false),
            ("[hls]\nwindow = \"6s\"", true),
            ("[hls]\nwindow = \"1s\"", false),
            ("[hls]\nwindow = \"2h\"", false),
        ];
        for (text, valid) in rows {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.check().is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        for text in [
            "lsten = 1",
            "[capacity]\negress = 1",
            "[slow]\nskip = '1s'",
            "[flv]\nlatency = 'soon'",
            "latency = '100ms'",
            "[hls]\nsegment_auth = 'all'",
            "[tls]\nca = ''",
        ] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_url_is_made_of_the_address() {
        let check = |bound: &str, expected| {
            let url = Config::default().viewers_url(bound.parse().unwrap());
            assert_eq!(url, expected);
        };
        check("[::]:80", "http://127.0.0.1:80");
        check("0.0.0.0:81", "http://127.0.0.1:81");
        check("192.0.2.1:82", "http://192.0.2.1:82");
        check("[2001:db8::1]:83", "http://[2001:db8::1]:83");
        let named = Config {
            public_url: Some("https://e.example/".into()),
            ..Config::default()
        };
        assert_eq!(
            named.viewers_url("[::]:80".parse().unwrap()),
            "https://e.example"
        );
    }
}
