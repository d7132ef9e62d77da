//! `weir forecast backtest`: what a cluster's own scheduler remembers, judged like a file.
//!
//! Series come over the admin API, so it can be asked of a scheduler that is running, and nothing is written there.

use anyhow::{Result, ensure};
use clap::Args;
use scheduler::history::{Listed, Values};
use transport::config::Duration;

use super::{How, Output, calendar, data::Data, judge_and_tell};
use crate::admin;

/// Whose history, and how far back.
#[derive(Args)]
pub struct Backtest {
    #[command(flatten)]
    admin: admin::Options,
    /// Only series whose names begin so: `region/` is demand and traffic by region, `node/` by node, `total/` all.
    #[arg(long, default_value = "region/")]
    series: String,
    /// How far back, in real time.
    #[arg(long, default_value = "60d")]
    past: Duration,
    /// The cluster's `[time] scale`: horizons and the day count in its calendar.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    output: Output,
}

/// Series asked for at most: as many as a history holds by default, one request each.
const MAX_SERIES: usize = 2_000;

/// Does it.
pub async fn run(options: Backtest) -> Result<()> {
    ensure!(
        options.scale.is_finite() && options.scale >= 1.0,
        "--scale is at least 1"
    );
    calendar(options.how.day)?;
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let list = format!("/api/v1/history/series?prefix={}", encode(&options.series));
    let listed: Vec<Listed> = options.admin.get(&list).await?;
    ensure!(
        !listed.is_empty(),
        "the history has no series that begins with {:?}",
        options.series
    );
    let past_s = options.past.get().as_secs();
    let mut data = Data::default();
    for Listed { series, .. } in listed.into_iter().take(MAX_SERIES) {
        let path = format!("/api/v1/history?series={}&from=-{past_s}", encode(&series));
        let values: Values = options.admin.get(&path).await?;
        data.put(series, samples(&values, options.scale));
    }
    let Backtest {
        admin, how, output, ..
    } = options;
    tokio::task::block_in_place(|| judge_and_tell("history", data, &how, (&output, admin.json)))
}

/// Samples in calendar seconds: the steps of a history are whole ones there.
fn samples(values: &Values, scale: f64) -> Vec<(i64, f64)> {
    let step_s = (values.step_ms * scale / 1000.0).round().max(1.0) as i64;
    let first = (values.first_ms as f64 * scale / 1000.0 / step_s as f64).round() as i64;
    let known = (first..).zip(&values.values);
    known
        .map(|(step, value)| (step * step_s, value.unwrap_or(f64::NAN)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_history_has_the_steps_of_its_calendar() {
        let values = |first_ms, step_ms| Values {
            series: "total/demand".into(),
            first_ms,
            step_ms,
            values: vec![Some(1.0), None, Some(3.0)],
        };
        let real = samples(&values(1_795_352_640_000, 60_000.0), 1.0);
        assert_eq!(
            (real[0], real[2]),
            ((1_795_352_640, 1.0), (1_795_352_760, 3.0))
        );
        assert!(real[1].1.is_nan());
        let scaled = samples(&values(1_795_352_640_208, 1041.666), 288.0);
        assert_eq!(scaled[2].0 - scaled[0].0, 600);
        assert_eq!(scaled[0].0 % 300, 0);
    }
}
