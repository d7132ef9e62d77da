//! What operators say to a running cluster: the scheduler's admin API, printed for people or as JSON.

use anyhow::{Context, Result};
use clap::Args;
use cluster::stream::StreamKey;
use http::Method;
use scheduler::{
    api::{Node, Stream},
    diary::Entry,
    explain::Explanation,
};
use serde::Serialize;
use serde_json::Value;
use std::{fmt::Display, net::IpAddr};
use transport::{clock::unix_ms, http::Client};

/// How to reach the scheduler.
#[derive(Args)]
pub struct Options {
    /// The scheduler's admin listener.
    #[arg(long, default_value = "http://127.0.0.1:7800", env = "WEIR_ADMIN")]
    admin: String,
    /// The token of `[admin] token`, when one is set.
    #[arg(long, env = "WEIR_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `weir kick`.
#[derive(Args)]
pub struct Kick {
    /// The stream, `app/name`.
    stream: StreamKey,
    /// How long its publisher is refused.
    #[arg(long = "for", default_value = "60s")]
    long: transport::config::Duration,
    #[command(flatten)]
    options: Options,
}

/// `weir explain`.
#[derive(Args)]
pub struct Explain {
    /// The stream, `app/name`.
    stream: StreamKey,
    /// The viewer's address.
    #[arg(long)]
    from: IpAddr,
    /// The edge that plays to the viewer by HLS: says whether its player would be told to move, and why.
    #[arg(long, value_name = "EDGE")]
    at: Option<cluster::node::NodeId>,
    /// The entitlement of the viewer's token, by which policies are chosen.
    #[arg(long)]
    label: Option<String>,
    /// What if these edges were down, separated by commas.
    #[arg(long, value_name = "EDGES", default_value = "")]
    without: String,
    /// What if this policy of the active file held.
    #[arg(long, value_name = "POLICY")]
    under: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// `weir decisions`.
#[derive(Args)]
pub struct Decisions {
    /// The number of a decision, to see all of it.
    id: Option<u64>,
    /// Only those for this stream.
    #[arg(long)]
    stream: Option<StreamKey>,
    /// How many, the newest first.
    #[arg(long, default_value_t = 20)]
    count: usize,
    #[command(flatten)]
    options: Options,
}

/// `weir drain`.
#[derive(Args)]
pub struct Drain {
    /// The node's id; `weir nodes` lists them.
    node: cluster::node::NodeId,
    /// Let it take new viewers again.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    options: Options,
}

/// `weir nodes`.
pub async fn nodes(options: Options) -> Result<()> {
    let nodes: Vec<Node> = options.get("/api/v1/nodes").await?;
    options.print(&nodes, || {
        let row = |node: &Node| {
            vec![
                node.id.to_string(),
                node.role.as_str().into(),
                word(&node.health),
                node.place.name.clone(),
                node.viewers.to_string(),
                megabits(node.egress_bps),
                format!("{:.0} %", node.cpu * 100.0),
                format!("{} MB", node.memory_bytes >> 20),
                node.version.clone(),
            ]
        };
        let head = [
            "NODE", "ROLE", "HEALTH", "PLACE", "VIEWERS", "EGRESS", "CPU", "MEMORY", "VERSION",
        ];
        table(&head, nodes.iter().map(row))
    })
}

/// `weir streams`.
pub async fn streams(options: Options) -> Result<()> {
    let streams: Vec<Stream> = options.get("/api/v1/streams").await?;
    options.print(&streams, || {
        let row = |stream: &Stream| {
            let codecs = stream
                .record
                .tracks
                .iter()
                .map(|track| track.codec_string.as_str());
            vec![
                stream.record.key.to_string(),
                stream.record.origin.to_string(),
                codecs.collect::<Vec<_>>().join(" "),
                megabits(stream.record.bitrate_bps),
                stream.viewers.to_string(),
                stream.record.publisher.clone(),
            ]
        };
        let head = [
            "STREAM",
            "ORIGIN",
            "CODECS",
            "BITRATE",
            "VIEWERS",
            "PUBLISHER",
        ];
        table(&head, streams.iter().map(row))
    })
}

/// `weir kick`.
pub async fn kick(kick: Kick) -> Result<()> {
    let seconds = kick.long.get().as_secs();
    let path = format!("/api/v1/streams/{}/kick?seconds={seconds}", kick.stream);
    let answer = kick.options.send(Method::POST, &path).await?;
    kick.options.print(&answer, || {
        format!(
            "the publisher of {} is closed and refused for {seconds} s\n",
            kick.stream
        )
    })
}

/// `weir explain`.
pub async fn explain(explain: Explain) -> Result<()> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("stream", explain.stream.as_str());
    query.append_pair("from", &explain.from.to_string());
    query.append_pair("without", &explain.without);
    let at = explain.at.as_ref().map(|edge| edge.as_str());
    let given = [
        ("at", at),
        ("label", explain.label.as_deref()),
        ("under", explain.under.as_deref()),
    ];
    for (key, value) in given {
        value.map(|value| query.append_pair(key, value));
    }
    let path = format!("/api/v1/explain?{}", query.finish());
    let explanation: Explanation = explain.options.get(&path).await?;
    explain.options.print(&explanation, || &explanation)
}

/// `weir decisions`.
pub async fn decisions(wanted: Decisions) -> Result<()> {
    if let Some(id) = wanted.id {
        let entry: Entry = wanted
            .options
            .get(&format!("/api/v1/decisions/{id}"))
            .await?;
        return wanted.options.print(&entry, || &entry.explanation);
    }
    let stream = wanted.stream.map(|stream| format!("&stream={stream}"));
    let stream = stream.unwrap_or_default();
    let path = format!("/api/v1/decisions?count={}{stream}", wanted.count);
    let entries: Vec<Entry> = wanted.options.get(&path).await?;
    wanted.options.print(&entries, || {
        let row = |entry: &Entry| {
            let it = &entry.explanation;
            let edge = it.candidates.first().filter(|_| it.reason.is_some());
            vec![
                entry.id.to_string(),
                format!("{} s ago", unix_ms().saturating_sub(entry.at_ms) / 1000),
                it.stream.clone(),
                it.place.address.to_string(),
                edge.map_or("-".into(), |edge| edge.edge.to_string()),
                it.reason
                    .map_or("no edge can take it", |why| why.as_str())
                    .into(),
            ]
        };
        let head = ["ID", "WHEN", "STREAM", "VIEWER", "EDGE", "WHY"];
        table(&head, entries.iter().map(row))
    })
}

/// `weir drain`.
pub async fn drain(drain: Drain) -> Result<()> {
    let (method, said) = match drain.undo {
        false => (Method::POST, "gets no new viewers; --undo takes it back"),
        true => (Method::DELETE, "takes new viewers again"),
    };
    let path = format!("/api/v1/nodes/{}/drain", drain.node);
    let answer = drain.options.send(method, &path).await?;
    drain
        .options
        .print(&answer, || format!("{} {said}\n", drain.node))
}

impl Options {
    /// The scheduler whose admin listener is at this address.
    pub fn at(admin: String, admin_token: Option<String>) -> Self {
        Self {
            admin,
            admin_token,
            json: false,
        }
    }

    /// What the admin API answers to a GET.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let asked = Client::new()
            .get_json(&self.url(path), self.admin_token.as_deref())
            .await;
        asked.context(NO_ANSWER)
    }

    /// Tells the scheduler something.
    pub async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let (url, token) = (self.url(path), self.admin_token.as_deref());
        let told = Client::new().post_json(&url, token, body).await;
        told.context(NO_ANSWER)
    }

    /// Tells the scheduler something that replaces what it was told before.
    pub async fn put<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let (url, token) = (self.url(path), self.admin_token.as_deref());
        let client = Client::new();
        let told = client.send_json(Method::PUT, &url, token, body).await;
        told.context(NO_ANSWER)
    }

    /// Gives the scheduler an order without words.
    pub async fn send(&self, method: Method, path: &str) -> Result<Value> {
        let (url, token) = (self.url(path), self.admin_token.as_deref());
        Client::new()
            .send_json(method, &url, token, &Value::Null)
            .await
            .context(NO_ANSWER)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.admin.trim_end_matches('/'))
    }

    /// As JSON when asked for, else as text, which ends its own line.
    pub fn print<T: Display>(&self, value: &impl Serialize, text: impl Fn() -> T) -> Result<()> {
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(value)?),
            false => print!("{}", text()),
        }
        Ok(())
    }
}

/// Columns as wide as their widest cell.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|cell| cell.to_string()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

/// An enumeration's word as it stands in JSON.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_string()
}

fn megabits(bps: u64) -> String {
    format!("{:.1} Mbit/s", bps as f64 / 1e6)
}

const NO_ANSWER: &str =
    "the scheduler cannot do this (is --admin its admin listener, and --admin-token its token?)";
