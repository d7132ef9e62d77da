//! What is written to standard error, in which form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// Logging.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Least level, or a filter by module as `tracing` takes it: `info`, `warn,relay=debug`.
    pub level: String,
    /// For people or for machines.
    pub format: Format,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: Format::Text,
        }
    }
}

/// Starts logging for the process.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|error| anyhow::anyhow!("[log] level = {:?}: {error}", config.level))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.format {
        Format::Text => lines.with_target(false).init(),
        Format::Json => lines.json().init(),
    }
    Ok(())
}
