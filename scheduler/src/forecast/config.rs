//! The `[scheduler.forecast]` table; its comments are the operator's page.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use cluster::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Duration;

/// `[scheduler.forecast]`: what is expected of demand and load, learned from the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Forecast")]
pub struct Config {
    /// Folder of the trained model and of the shapes of past shows; left out, that of the history's
    /// file, and without one both end with the process.
    pub path: Option<PathBuf>,
    /// Series forecast at most: the cluster, regions, nodes and streams in turn, each with its
    /// busiest first. One takes about half a megabyte with steps of a minute.
    pub series: u32,
    /// When a model is trained each day: so long after midnight UTC, in `[time]`.
    pub train_at: Duration,
    /// Days of the history that a training reads, 1 to 15.
    pub train_days: u32,
    /// What plans and recommended sizes go by, so that it can be seen what forecasts are worth:
    /// `"forecast"`, with all that is announced or noticed; `"persistence"`, that demand stays as it
    /// is, give or take what forecasts do; `"nothing"`, what is asked for now alone.
    pub plan_by: Basis,
}

/// What is expected by whoever plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// What was forecast.
    #[default]
    Forecast,
    /// That it stays as it is, give or take.
    Persistence,
    /// Nothing: now is all there is.
    Nothing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: None,
            series: 300,
            train_at: Duration::from_secs(4 * 3600),
            train_days: 14,
            plan_by: Basis::Forecast,
        }
    }
}

impl Config {
    /// Whether it makes sense.
    pub(super) fn check(&self, time: &Time) -> anyhow::Result<()> {
        ensure!(
            (1..=MAX_SERIES).contains(&self.series),
            "[scheduler.forecast] series must be 1 to {MAX_SERIES}"
        );
        ensure!(
            self.train_at.get().as_secs() < u64::from(time.day_s()),
            "[scheduler.forecast] train_at must be less than [time] day"
        );
        ensure!(
            (1..=MAX_DAYS).contains(&self.train_days),
            "[scheduler.forecast] train_days must be 1 to {MAX_DAYS}"
        );
        Ok(())
    }

    /// The folder, given the history's file.
    pub(super) fn folder(&self, history: Option<&Path>) -> Option<PathBuf> {
        let beside = || {
            let folder = history?.parent()?;
            Some(folder.to_owned())
        };
        self.path.clone().or_else(beside)
    }
}

/// Their steps are taken in a second of one core.
const MAX_SERIES: u32 = 2_000;

/// As long as the history has fine steps.
const MAX_DAYS: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for (text, valid) in [
            ("", true),
            ("series = 2000\ntrain_at = \"0s\"\ntrain_days = 1", true),
            ("series = 0", false),
            ("series = 2001", false),
            ("train_at = \"24h\"", false),
            ("train_days = 16", false),
            ("plan_by = \"persistence\"", true),
            ("plan_by = \"nothing\"", true),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            assert_eq!(config.check(&Time::default()).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn the_model_lies_beside_the_history() {
        let config = Config::default();
        assert_eq!(config.folder(None), None);
        assert_eq!(
            config.folder(Some(Path::new("/v/h.redb"))),
            Some("/v".into())
        );
    }
}
