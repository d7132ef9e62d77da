//! `[origin]`: where an origin listens, and how long it waits for publishers; `[hls]`: how it cuts
//! streams for HLS.
//!
//! Every key has a working default. What the node is called and where it stands is in `[node]`,
//! who may publish in `[tokens]`.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time;

use anyhow::ensure;
use media::segment::Terms;
use media::timestamp::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::{Bytes, Duration};

/// `[origin]`: takes streams in and serves them to edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Origin")]
pub struct Config {
    /// TCP address for RTMP, and for RTMPS when `[origin.rtmps]` is there.
    pub listen: SocketAddr,
    /// UDP address where edges fetch streams.
    pub relay_listen: SocketAddr,
    /// `host:port` under which edges reach `relay_listen`; by default the host of `public_url`
    /// and the port of `relay_listen`.
    pub relay_public: Option<String>,
    /// Where publishers reach this node, such as `rtmp://origin1.example.com`; by default this
    /// machine alone.
    pub public_url: Option<String>,
    /// TLS on the port of `listen`; without this table there is none.
    pub rtmps: Option<Rtmps>,
    /// How long a stream outlives its publisher, who may come back within it.
    pub grace: Duration,
    /// A publisher silent for this long loses its stream to another one with a valid token.
    pub takeover_after: Duration,
    /// A publisher silent for this long is closed.
    pub idle: Duration,
    /// Streams taken in at one time, at most 2000; further publishers are refused.
    pub max_publishers: usize,
    /// RTMP connections open at one time, publishing, playing or neither yet.
    pub max_connections: usize,
    /// Of these, from one address (IPv6: one /64).
    pub max_connections_per_address: usize,
    /// After SIGTERM no more publishers are taken; those that are on air may go on for this long.
    pub drain: Duration,
    /// Memory for the newest groups of all streams: what edges that join late can fetch of the past.
    pub cache: Bytes,
    /// The file that remembers over a restart how far discontinuities were counted; when absent,
    /// a player of HLS that goes on after an origin restarted within the hour may take the new
    /// stream's times for the old one's.
    pub state: Option<PathBuf>,
}

/// `[origin.rtmps]`: TLS for publishers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "OriginRtmps")]
pub struct Rtmps {
    /// PEM file with the certificate chain; without one, a self-signed certificate is made.
    pub cert: Option<PathBuf>,
    /// PEM file with the certificate's key.
    pub key: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv6Addr::UNSPECIFIED, 1935).into(),
            relay_listen: (Ipv6Addr::UNSPECIFIED, 7001).into(),
            relay_public: None,
            public_url: None,
            rtmps: None,
            grace: Duration::from_secs(5),
            takeover_after: Duration::from_secs(1),
            idle: Duration::from_secs(15),
            max_publishers: 1_000,
            max_connections: 4_096,
            max_connections_per_address: 512,
            drain: Duration::from_secs(30),
            cache: Bytes::from_mib(256),
            state: None,
        }
    }
}

impl Config {
    /// How publishers reach this node, listening on `rtmp`.
    pub(crate) fn public_url(&self, rtmp: SocketAddr) -> String {
        let given = self
            .public_url
            .as_deref()
            .map(|url| url.trim_end_matches('/').to_owned());
        given.unwrap_or_else(|| format!("rtmp://127.0.0.1:{}", rtmp.port()))
    }

    /// How edges reach this node, serving them on `relay`.
    pub(crate) fn relay_public(&self, relay: SocketAddr) -> String {
        let given = self.relay_public.clone();
        let host = self
            .public_url
            .as_deref()
            .and_then(host)
            .unwrap_or("127.0.0.1");
        given.unwrap_or_else(|| format!("{host}:{}", relay.port()))
    }
}

/// `[hls]`: how origins cut streams into segments and parts; edges follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Hls")]
pub struct Hls {
    /// The longest segment, `"1s"` to `"30s"`: a segment is a group, and a longer group is cut into
    /// several. It is the target duration of playlists: Chromium's own player and GStreamer want it
    /// to be at most three times as long as segments are.
    pub segment_max: Duration,
    /// The longest part, `"100ms"` to `"2s"` and at most `segment_max`: players stay about three
    /// parts behind. Where the source's frames fill less than 90 % of it, it is as many whole frames
    /// as fit, at least one.
    pub part: Duration,
}

impl Default for Hls {
    fn default() -> Self {
        Self {
            segment_max: Duration::from_secs(6),
            part: Duration::from_millis(400),
        }
    }
}

impl Hls {
    /// Refuses settings that make no sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (segment_max, part) = (self.segment_max.get(), self.part.get());
        ensure!(
            SEGMENTS.contains(&segment_max),
            "[hls] segment_max must be between 1s and 30s"
        );
        ensure!(
            PARTS.contains(&part),
            "[hls] part must be between 100ms and 2s"
        );
        ensure!(
            part <= segment_max,
            "[hls] part must not be longer than segment_max"
        );
        Ok(())
    }

    /// What publications are cut by.
    pub(crate) fn terms(&self) -> Terms {
        let timestamp = |duration: Duration| {
            let us = duration.get().as_micros();
            Timestamp::from_micros(i64::try_from(us).unwrap_or(i64::MAX))
        };
        Terms {
            segment_max: timestamp(self.segment_max),
            part_target: timestamp(self.part),
        }
    }
}

/// Shorter segments than a second cost players a request each; after 30 s without a key frame they
/// have long given up.
const SEGMENTS: RangeInclusive<time::Duration> =
    time::Duration::from_secs(1)..=time::Duration::from_secs(30);

/// Ten requests a second are what players stand; parts of more than 2 s are no low latency.
const PARTS: RangeInclusive<time::Duration> =
    time::Duration::from_millis(100)..=time::Duration::from_secs(2);

/// The host of a URL, an IPv6 address in its brackets.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => Some(host),
        _ => Some(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_told_the_host_that_publishers_use() {
        let check = |public: Option<&str>, relay: Option<&str>, expect: &str| {
            let config = Config {
                public_url: public.map(str::to_owned),
                relay_public: relay.map(str::to_owned),
                ..Config::default()
            };
            assert_eq!(config.relay_public("[::]:7001".parse().unwrap()), expect);
        };
        check(None, None, "127.0.0.1:7001");
        check(Some("rtmp://o.example.com"), None, "o.example.com:7001");
        check(
            Some("rtmp://o.example.com:1936/"),
            None,
            "o.example.com:7001",
        );
        check(Some("rtmp://[2001:db8::1]"), None, "[2001:db8::1]:7001");
        check(
            Some("rtmp://[2001:db8::1]:1935"),
            None,
            "[2001:db8::1]:7001",
        );
        check(
            Some("rtmp://o.example.com"),
            Some("10.0.0.1:9"),
            "10.0.0.1:9",
        );
    }

    #[test]
    fn lengths_that_make_no_playlist_are_refused() {
        let rows = [
            (6_000, 400, None),
            (1_000, 1_000, None),
            (30_000, 2_000, None),
            (900, 400, Some("segment_max")),
            (31_000, 400, Some("segment_max")),
            (6_000, 99, Some("part must be between")),
            (6_000, 2_001, Some("part must be between")),
            (1_500, 1_600, Some("not be longer")),
        ];
        for (segment_max, part, fault) in rows {
            let hls = Hls {
                segment_max: Duration::from_millis(segment_max),
                part: Duration::from_millis(part),
            };
            let said = hls.check().err().map(|error| error.to_string());
            let fits = match (&said, fault) {
                (Some(said), Some(fault)) => said.contains(fault),
                (said, fault) => said.is_none() && fault.is_none(),
            };
            assert!(fits, "{segment_max} {part}: {said:?}");
        }
    }

    #[test]
    fn an_empty_table_is_the_default_and_unknown_keys_are_refused() {
        assert_eq!(
            serde_json::from_str::<Config>("{}").unwrap(),
            Config::default()
        );
        assert!(serde_json::from_str::<Config>(r#"{"lisen": "[::]:1935"}"#).is_err());
    }
}
