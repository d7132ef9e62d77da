//! The `[scheduler.history]` table; its comments are the operator's page.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Bytes;

use super::prometheus;

/// `[scheduler.history]`: what is remembered of load and demand, for forecasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "History")]
pub struct Config {
    /// The file; left out, `history.redb` beside `[scheduler] store`, and without a store in memory
    /// only.
    pub path: Option<PathBuf>,
    /// Series kept. When there are more, the one not heard of for the longest time goes.
    pub max_series: u32,
    /// How large the file may become, which also limits the series: one takes up to 1 MiB with
    /// steps of a minute.
    pub max_bytes: Bytes,
    /// Streams whose viewers are kept, those of most viewers in each step.
    pub streams: u32,
    /// A Prometheus server whose past fills what is missing here, at each start.
    pub prometheus: Option<prometheus::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: None,
            max_series: 2_000,
            max_bytes: Bytes::new(2 << 30),
            streams: 200,
            prometheus: None,
        }
    }
}

impl Config {
    /// The file, given the one of the store.
    pub(crate) fn file(&self, store: Option<&Path>) -> Option<PathBuf> {
        let beside = || store.map(|store| store.with_file_name("history.redb"));
        self.path.clone().or_else(beside)
    }

    /// How many series may be kept, when one takes so much.
    pub(super) fn room(&self, bytes_per_series: u64) -> anyhow::Result<usize> {
        ensure!(
            self.max_series >= 1,
            "[scheduler.history] max_series must be at least 1"
        );
        let fit = self.max_bytes.get() / bytes_per_series.max(1);
        ensure!(
            fit >= LEAST_SERIES,
            "[scheduler.history] max_bytes must be at least {}",
            Bytes::new((bytes_per_series * LEAST_SERIES).next_multiple_of(1 << 20))
        );
        ensure!(
            self.streams <= self.max_series,
            "[scheduler.history] streams must be at most max_series"
        );
        Ok(usize::try_from(fit.min(self.max_series.into())).unwrap_or(usize::MAX))
    }
}

/// A cluster of one edge and one region has a dozen.
const LEAST_SERIES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lies_beside_the_store() {
        let of = |path: Option<&str>, store: Option<&str>| {
            let config = Config {
                path: path.map(PathBuf::from),
                ..Config::default()
            };
            config.file(store.map(Path::new))
        };
        assert_eq!(of(None, None), None);
        assert_eq!(
            of(None, Some("/var/s.redb")),
            Some("/var/history.redb".into())
        );
        assert_eq!(of(Some("h"), Some("/var/s.redb")), Some("h".into()));
    }

    #[test]
    fn bounds_that_make_no_sense_are_refused() {
        for (text, room) in [
            ("", Some(2_000)),
            ("max_bytes = \"100MiB\"", Some(100)),
            ("max_series = 16\nstreams = 2", Some(16)),
            ("max_bytes = \"1MiB\"", None),
            ("max_series = 0", None),
            ("max_series = 100", None),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.room(1 << 20).ok(), room, "{text}");
        }
    }
}
