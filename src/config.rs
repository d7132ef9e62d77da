//! The one configuration file: read, environment filled in, checked, explained when it is wrong.
//!
//! Flags choose the command and the file; a value may be `"${NAME}"` from the environment; nothing else merges.

use anyhow::{Context, Result, anyhow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub mod docs;

/// A node of the cluster. Every key has a working default except `[cluster] secret`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this node is and where it stands.
    pub node: cluster::config::NodeConfig,
    /// What makes it part of a cluster.
    pub cluster: cluster::config::Cluster,
    /// Who may publish and who may watch.
    pub tokens: cluster::token::Config,
    /// The calendar of planning, billing and forecasts, the same on every node.
    pub time: cluster::time::Time,
    /// The operator's listener: API, console, metrics.
    pub admin: transport::admin::Config,
    /// Read by `weir origin`: takes streams in and relays them to edges.
    pub origin: origin::Config,
    /// Read by `weir origin`: how streams are cut for HLS.
    pub hls: origin::Hls,
    /// Read by `weir edge`: serves viewers from one upstream per stream.
    pub edge: edge::Config,
    /// Read by `weir scheduler`: collects samples, plans, and sends viewers to edges.
    pub scheduler: scheduler::Config,
    /// Read by `weir scheduler`: streams that are rungs of one another or have labels, in as many
    /// tables `[[stream]]` as there are such.
    pub stream: Vec<scheduler::config::Stream>,
    /// Read by `weir scheduler`: what the traffic of which nodes costs, in as many tables
    /// `[[price]]` as there are contracts. Without any, all edges are equally dear.
    pub price: Vec<scheduler::price::Row>,
    /// Read by `weir scheduler`: commercial CDNs and other clusters that take what is too much, in
    /// as many tables `[[pathway]]`.
    pub pathway: Vec<scheduler::pathway::Row>,
    /// Read by `weir scheduler`: how an address becomes a place.
    pub geo: scheduler::geo::Config,
    /// What is written to standard error.
    pub log: crate::logs::Config,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read {}: `weir config example` prints a file to start from",
                path.display()
            )
        })?;
        Self::parse(&text, &|name| std::env::var(name).ok())
            .with_context(|| format!("{} is not a valid configuration", path.display()))
    }

    fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut value: toml::Value = toml::from_str(text).map_err(|error| anyhow!("{error}"))?;
        fill(&mut value, environment)?;
        // Deserialised from text again, so that an error points at its line; values are quoted as they stand.
        let filled = toml::to_string(&value).context("a table that was read can be written")?;
        let config: Self = toml::from_str(&filled).map_err(|error| explain(error.message()))?;
        scheduler::config::streams(&config.stream)?;
        scheduler::price::Prices::new(&config.price)?;
        scheduler::pathway::pathways(&config.pathway)?;
        config.time.check()?;
        Ok(config)
    }

    /// What every role needs.
    pub fn common(&self) -> cluster::config::Common {
        cluster::config::Common {
            node: self.node.clone(),
            cluster: self.cluster.clone(),
            tokens: self.tokens.clone(),
            time: self.time,
            admin: self.admin.clone(),
        }
    }
}

/// Replaces each text value of the form `${NAME}` by the environment's.
fn fill(value: &mut toml::Value, environment: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    match value {
        toml::Value::String(text) => {
            if let Some(name) = text
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'))
            {
                *text = environment(name).with_context(|| {
                    format!("the file asks for the environment variable {name}, which is not set")
                })?;
            }
        }
        toml::Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| fill(item, environment))?,
        toml::Value::Table(table) => {
            table
                .iter_mut()
                .try_for_each(|(_, item)| fill(item, environment))?;
        }
        _ => {}
    }
    Ok(())
}

/// Names the nearest known key when a key is unknown (serde lists the known ones in its message).
fn explain(message: &str) -> anyhow::Error {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (Some(unknown), true) = (quoted.first(), message.contains("unknown field")) else {
        return anyhow!("{message}");
    };
    let nearest = quoted[1..]
        .iter()
        .max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown)));
    match nearest {
        Some(known) => anyhow!("unknown key `{unknown}`: did you mean `{known}`? ({message})"),
        None => anyhow!("unknown key `{unknown}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        let environment =
            |name: &str| (name == "WEIR_SECRET").then(|| "from the environment".into());
        match Config::parse(text, &environment) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn the_file_is_checked_and_its_faults_are_explained() {
        let table = [
            ("", "Config"),
            ("[cluster]\nsecret = \"${WEIR_SECRET}\"", "Config"),
            (
                "[cluster]\nsecret = \"${NOTHING}\"",
                "environment variable NOTHING",
            ),
            ("[cluster]\nsecrt = \"x\"", "did you mean `secret`?"),
            ("[orign]\n", "did you mean `origin`?"),
            ("[admin]\nlisten = \"nowhere\"", "socket address"),
            (
                "[[stream]]\nname = \"live/x\"\nrungs = [\"live/x\", \"live/x_480\"]",
                "live/x_480",
            ),
            (
                "[[stream]]\nname = \"live/x\"\nrungs = [\"live/y\", \"live/z\"]",
                "[[stream]] live/x: it must be one of its rungs",
            ),
            (
                "[[price]]\nnode = \"edge-*\"\nusd_per_mbps_month = 0.5",
                "usd_per_mbps_month: Some(0.5)",
            ),
            (
                "[[price]]\nnode = \"edge-*\"\nmodel = \"flat\"",
                "[[price]] row 1 (node = \"edge-*\"): model = \"flat\" needs port_usd",
            ),
            ("[time]\nscale = 288.0", "say history_step = \"5m\""),
            ("[admin\n", "TOML parse error"),
        ];
        for (text, expect) in table {
            let said = parse(text);
            assert!(said.contains(expect), "{text:?} said {said}, not {expect}");
        }
    }

    #[test]
    fn the_printed_example_is_a_valid_file() {
        assert!(
            parse(docs::EXAMPLE).starts_with("Config"),
            "{}",
            parse(docs::EXAMPLE)
        );
    }
}
