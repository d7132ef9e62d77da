//! The `[scheduler]` table of the configuration file; its comments are the operator's page.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use cluster::plan::MAX_RUNGS;
use cluster::stream::StreamKey;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Duration;

use crate::dns;
use crate::forecast;
use crate::history;
use crate::scale;
use crate::snapshot::{Labels, Ladders};
use crate::sticky;

/// `[scheduler]`: where viewers and nodes reach it, and how it chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Scheduler")]
pub struct Config {
    /// Where viewers ask which edge to go to (`/{app}/{stream}.flv`, `/api/v1/resolve`).
    pub listen: SocketAddr,
    /// The address under which viewers know that listener: `"https://live.example.com"`.
    /// The console's page plays through it. Left out, the page plays through `localhost`.
    pub public_url: Option<String>,
    /// Certificate chain and key for that listener; plain HTTP when absent.
    pub tls: Option<Tls>,
    /// Where nodes deliver their samples, always over mutual TLS.
    pub cluster_listen: SocketAddr,
    /// The file that remembers drains and kicks over a restart; only in memory when absent.
    pub store: Option<PathBuf>,
    /// The file of policies: what planning and steering are asked for, by stream, region, tenant
    /// and label. A changed file is taken over within seconds, a broken one is not. `weir policy
    /// example` prints one; without it defaults hold until `weir policy apply`. What was applied is
    /// remembered beside `store`.
    pub policy: Option<PathBuf>,
    /// What is remembered of load and demand, for forecasts.
    pub history: history::Config,
    /// What is expected of demand and load, learned from the history.
    pub forecast: forecast::Config,
    /// How many edges are recommended to what starts and stops them.
    pub scale: scale::Config,
    /// A zone that is answered with the best edges; without it nothing listens for DNS.
    pub dns: Option<dns::Config>,
    /// How long a viewer who comes back is sent to the same one of equally near edges; `"0s"` lets
    /// the load decide each time. At most one hour.
    pub sticky: Duration,
    /// One decision in so many is kept with its reasons for `weir decisions`, the newest 1,000; 0
    /// keeps none.
    pub log_decisions: u64,
    /// Proxies whose `X-Forwarded-For` is believed, as networks: `["10.0.0.0/8"]`.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// Lets requests from loopback and from trusted proxies say `?ip=ADDRESS` and be answered like
    /// a viewer from there. For demonstrations and tests.
    pub allow_ip_override: bool,
    /// Places that the console's page offers as "I am in ...".
    pub places: Vec<Place>,
}

/// The public listener's certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// A place to try from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConsolePlace")]
pub struct Place {
    /// What people read: `"Frankfurt"`.
    pub name: String,
    /// An address that is there.
    pub address: IpAddr,
}

/// One `[[stream]]`: what is known of a stream beforehand. Its rungs are streams that are pushed
/// side by side and are the same picture at different bit rates, with key frames at the same times,
/// so that an HLS player may switch between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The stream that viewers ask for: `"live/show"`.
    pub name: StreamKey,
    /// All streams that its player may switch between, itself among them, 2 to 8; those on air are
    /// offered, the highest bit rate first. Left out, it stands alone.
    #[serde(default)]
    pub rungs: Vec<StreamKey>,
    /// Marks by which policies select it: `["tier=vip"]`, at most 8.
    #[serde(default)]
    pub labels: Vec<String>,
}

/// The rungs and the labels by stream, when they make sense.
pub fn streams(streams: &[Stream]) -> anyhow::Result<(Ladders, Labels)> {
    ensure!(
        streams.len() <= MAX_STREAMS,
        "[[stream]]: at most {MAX_STREAMS}"
    );
    let mut ladders = Ladders::new();
    let mut marked = Labels::new();
    let mut names = HashSet::new();
    for Stream {
        name,
        rungs,
        labels,
    } in streams
    {
        ensure!(names.insert(name), "[[stream]] {name} stands there twice");
        check_labels(labels).with_context(|| format!("[[stream]] {name}"))?;
        marked.insert(name.clone(), labels.clone());
        if !rungs.is_empty() {
            check(name, rungs).with_context(|| format!("[[stream]] {name}"))?;
            ladders.insert(name.clone(), rungs.clone());
        }
    }
    marked.retain(|_, labels| !labels.is_empty());
    Ok((ladders, marked))
}

fn check_labels(labels: &[String]) -> anyhow::Result<()> {
    ensure!(labels.len() <= MAX_LABELS, "at most {MAX_LABELS} labels");
    let plain = |label: &String| {
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic())
    };
    ensure!(
        labels.iter().all(plain),
        "a label is 1 to {MAX_LABEL} visible ASCII characters, such as \"tier=vip\""
    );
    Ok(())
}

fn check(name: &StreamKey, rungs: &[StreamKey]) -> anyhow::Result<()> {
    ensure!(
        (2..=MAX_RUNGS).contains(&rungs.len()),
        "name 2 to {MAX_RUNGS} rungs"
    );
    ensure!(rungs.contains(name), "it must be one of its rungs");
    let twice = |(at, rung): (usize, &StreamKey)| rungs[..at].contains(rung);
    ensure!(
        !rungs.iter().enumerate().any(twice),
        "a rung stands there twice"
    );
    Ok(())
}

/// Five times as many as one origin takes: a file longer than that is made by a program that has
/// other ways.
const MAX_STREAMS: usize = 10_000;

/// Tier, tenant, kind of show and a few more.
const MAX_LABELS: usize = 8;
const MAX_LABEL: usize = 64;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0; 16], 8080)),
            public_url: None,
            tls: None,
            cluster_listen: SocketAddr::from(([0; 16], 7700)),
            store: None,
            policy: None,
            history: history::Config::default(),
            forecast: forecast::Config::default(),
            scale: scale::Config::default(),
            dns: None,
            sticky: Duration::from_secs(300),
            log_decisions: 100,
            trusted_proxies: Vec::new(),
            allow_ip_override: false,
            places: Vec::new(),
        }
    }
}

impl Config {
    /// Where viewers ask, when the listener's port is `port`.
    pub(crate) fn public_url(&self, port: u16) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.public_url
            .clone()
            .unwrap_or_else(|| format!("{scheme}://localhost:{port}"))
    }

    /// Whether the settings make sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.sticky.get() <= sticky::MAX_TTL,
            "[scheduler] sticky must be at most 1h"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for (text, valid) in [
            ("", true),
            ("sticky = \"1h\"", true),
            ("sticky = \"2h\"", false),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.check().is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn rungs_that_make_no_sense_are_refused() {
        let row = |name: &str, rungs: &[&str]| {
            let rungs: Vec<String> = rungs.iter().map(|rung| format!("{rung:?}")).collect();
            format!(
                "[[stream]]\nname = {name:?}\nrungs = [{}]\n",
                rungs.join(", ")
            )
        };
        #[derive(Deserialize)]
        struct File {
            stream: Vec<Stream>,
        }
        let nine: Vec<String> = (0..9).map(|n| format!("live/{n}")).collect();
        let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
        for (text, valid) in [
            (row("live/x", &["live/x", "live/x_480"]), true),
            (row("live/x", &["live/x_1080", "live/x"]), true),
            (row("live/0", &nine[..8]), true),
            (row("live/0", &nine), false),
            (row("live/x", &["live/x"]), false),
            (row("live/x", &[]), true),
            (row("live/x", &[]) + "labels = [\"tier=vip\"]", true),
            (row("live/x", &[]) + "labels = [\"two words\"]", false),
            (row("live/x", &[]) + "labels = [\"\"]", false),
            (row("live/x", &["live/a", "live/b"]), false),
            (row("live/x", &["live/x", "live/a", "live/a"]), false),
            (row("live/x", &["live/x", "live/a"]).repeat(2), false),
            (row("live", &["live", "live/a"]), false),
        ] {
            let file = toml::from_str::<File>(&text);
            let said = file.is_ok_and(|file| streams(&file.stream).is_ok());
            assert_eq!(said, valid, "{text}");
        }
    }

    #[test]
    fn the_default_is_an_empty_table_and_writes_itself() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        assert!(text.contains("sticky = \"5m\"\n"), "{text}");
    }

    #[test]
    fn every_key_is_read() {
        let config: Config = toml::from_str(
            "listen = \"127.0.0.1:0\"\ncluster_listen = \"127.0.0.1:0\"\nstore = \"s.redb\"\n\
             tls = { cert = \"a\", key = \"b\" }\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
             allow_ip_override = true\n[[places]]\nname = \"x\"\naddress = \"192.0.2.1\"\n",
        )
        .unwrap();
        assert_eq!(config.places[0].address, IpAddr::from([192, 0, 2, 1]));
        assert!(toml::from_str::<Config>("nonsense = 1").is_err());
    }
}
