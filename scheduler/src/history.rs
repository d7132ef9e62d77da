//! What is remembered of load and demand: the ground that forecasts stand on.
//!
//! Samples are gathered into steps (`gather`), and once a step they are written to a file of
//! fixed-step rings (`store`, `ring`) on a thread that may block: steering never waits for it.
//! The joins of the last minutes are kept in finer bins beside it ([`Recent`]). A Prometheus server
//! may fill what is missing ([`prometheus`]).
//!
//! Series are named `total/K` and `region/ID/K` with `K` one of `demand viewers joins leaves
//! egress_bps`, `node/ID/K` with `cpu egress_bps viewers`, and `stream/APP/NAME/K` with `viewers
//! joins leaves`. Steps are counted in calendar time ([`Time`]), so that a day is a day at every
//! scale; joins and leaves are a calendar second's.

mod api;
mod config;
mod exposition;
mod gather;
pub mod prometheus;
mod recent;
mod ring;
mod store;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cluster::region::Region;
use cluster::sample::Sample;
use cluster::time::Time;
use cluster::waiting::Outside;
use models::series::Series;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::{MissedTickBehavior, interval, sleep};
use transport::clock::Clock;

use exposition::Passed;
use gather::{Gather, Told};
use prometheus::Prometheus;
use ring::Layout;
use store::Store;

pub use api::{Listed, Values, router};
pub use config::Config;
pub(crate) use exposition::Exposition;
pub use recent::{BIN_MS, BINS, MAX_SUBJECTS, Recent, Subject};
pub use ring::{Point, Ring};
pub use store::Error;

/// The history of a cluster.
pub struct History {
    store: Store,
    time: Time,
    clock: Clock,
    outside: Arc<Outside>,
    feed: Mutex<Feed>,
    prometheus: Option<Prometheus>,
    metrics: Metrics,
}

/// What becomes of samples.
struct Feed {
    gather: Gather,
    recent: Recent,
    passed: Passed,
}

#[derive(Clone, Debug, Default)]
struct Metrics {
    series: Gauge,
    bytes: Gauge,
    dropped: Counter,
    evicted: Counter,
    failed: Counter,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("weir_scheduler_history");
        registry.register("series", "Series in the history", metrics.series.clone());
        let bytes = metrics.bytes.clone();
        registry.register_with_unit("file", "Size of the history's file", Unit::Bytes, bytes);
        let help = "Points of series that there was no room for";
        registry.register("dropped_points", help, metrics.dropped.clone());
        let help = "Series that made room for others";
        registry.register("evicted_series", help, metrics.evicted.clone());
        let help = "Steps that could not be written";
        registry.register("failed_writes", help, metrics.failed.clone());
        metrics
    }
}

impl History {
    /// Opens the file, beside that of the scheduler's `store` if it has no path of its own.
    /// Blocks: a large file is checked.
    pub fn open(
        config: &Config,
        store: Option<&Path>,
        (time, clock): (Time, Clock),
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        time.check()?;
        let layout = Layout::new(time.step_s(), time.day_s());
        let room = config.room(layout.bytes_per_series())?;
        let server = config
            .prometheus
            .as_ref()
            .map(|config| Prometheus::new(config, time));
        let prometheus = server
            .transpose()
            .context("[scheduler.history.prometheus]")?;
        let store = Store::open(config.file(store).as_deref(), layout, room)?;
        let metrics = Metrics::register(registry);
        let mut gather = Gather::new(time, config.streams as usize);
        for (id, step) in store.list("region/") {
            let region = id.split('/').nth(1).and_then(Region::parse);
            region.inspect(|region| gather.remember(*region, step));
        }
        let feed = Feed {
            gather,
            recent: Recent::default(),
            passed: Passed::default(),
        };
        let history = Self {
            store,
            time,
            clock,
            outside: Arc::new(Outside::new(time.history_step())),
            feed: Mutex::new(feed),
            prometheus,
            metrics,
        };
        history.show();
        Ok(history)
    }

    /// Those whom the scheduler itself turns away.
    pub fn outside(&self) -> Arc<Outside> {
        self.outside.clone()
    }

    /// The calendar of its steps.
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// Takes the samples of one node, oldest first, as they come.
    pub fn take(&self, samples: &[Arc<Sample>]) {
        let now_ms = self.clock.unix_ms();
        let mut feed = self.feed.lock();
        for (at_ms, sample) in feed.gather.take(now_ms, samples) {
            feed.recent.take(at_ms, &sample);
            feed.passed.take(&sample);
        }
    }

    /// Keeps a step of many series; of what is there already, the point with more behind it stays.
    /// Blocks.
    pub fn append(&self, step: i64, rows: &[(String, Point)]) -> Result<(), Error> {
        let written = self.store.append(step, rows)?;
        self.metrics.dropped.inc_by(written.dropped);
        self.metrics.evicted.inc_by(written.evicted);
        Ok(())
    }

    /// What is known of a series between two calendar seconds, if it is known at all. Blocks.
    pub fn series(
        &self,
        id: &str,
        ring: Ring,
        calendar_s: Range<i64>,
    ) -> Result<Option<Series>, Error> {
        let step_s = i64::from(self.step_s(ring));
        let end = calendar_s.end.saturating_add(step_s - 1).div_euclid(step_s);
        self.store
            .series(id, ring, calendar_s.start.div_euclid(step_s)..end)
    }

    /// Calendar seconds of a ring's steps.
    pub fn step_s(&self, ring: Ring) -> u32 {
        self.store.layout().step_s(ring)
    }

    /// The ring whose steps are billing slots: the fine one where these are as short as its steps.
    pub fn billing_ring(&self) -> Ring {
        if self.time.billing_slot_s() <= self.step_s(Ring::Fine) {
            Ring::Fine
        } else {
            Ring::Coarse
        }
    }

    /// The series whose names begin so, each with the last step that it was heard of.
    pub fn list(&self, prefix: &str) -> Vec<(String, i64)> {
        self.store.list(prefix)
    }

    /// The last step written.
    pub fn newest(&self) -> Option<i64> {
        self.store.newest(Ring::Fine)
    }

    /// The joins of the last minutes.
    pub fn recent(&self) -> MappedMutexGuard<'_, Recent> {
        MutexGuard::map(self.feed.lock(), |feed| &mut feed.recent)
    }

    /// Keeps what is gathered, once a step, and fills what is missing from Prometheus. Never ends.
    pub async fn run(self: Arc<Self>) {
        let server = self.prometheus.clone();
        let fill = async {
            match server {
                Some(server) => self.clone().fill_from(&server).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(self.clone().keep(), fill);
    }

    /// Keeps what is gathered of the steps that are not over; for the end of the process.
    pub async fn finish(self: Arc<Self>) {
        let told = self.feed.lock().gather.close_all();
        self.write(told).await;
    }

    async fn keep(self: Arc<Self>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beat.tick().await;
            let now_ms = self.clock.unix_ms();
            let refused = self.outside.by_region(now_ms);
            let told = {
                let mut feed = self.feed.lock();
                feed.gather.wait(now_ms, &refused);
                feed.gather.close(now_ms)
            };
            if !told.is_empty() {
                self.clone().write(told).await;
            }
        }
    }

    async fn write(self: Arc<Self>, told: Vec<Told>) {
        let task = tokio::task::spawn_blocking(move || {
            for (step, rows) in told {
                if let Err(error) = self.append(step, &rows) {
                    self.metrics.failed.inc();
                    tracing::error!(%error, "a step of the history is lost");
                }
            }
            self.show();
        });
        if let Err(error) = task.await {
            tracing::error!(%error, "the history cannot be written: a restart sets it aside");
        }
    }

    /// Fills both rings with what the server has and this history has not.
    async fn fill_from(self: Arc<Self>, server: &Prometheus) {
        for attempt in 0..ATTEMPTS {
            match self.clone().fill_once(server).await {
                Ok(series) => {
                    tracing::info!(series, "history filled from prometheus");
                    return;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, attempt, "history not filled from prometheus");
                }
            }
            sleep(RETRY * (1 << attempt)).await;
        }
        tracing::error!("prometheus did not tell its history: the next start asks again");
    }

    async fn fill_once(self: Arc<Self>, server: &Prometheus) -> anyhow::Result<usize> {
        let mut filled = 0;
        for ring in [Ring::Coarse, Ring::Fine] {
            let step_s = self.step_s(ring);
            let now = self
                .time
                .calendar_s(self.clock.unix_ms())
                .div_euclid(step_s.into());
            let first = now - i64::from(self.store.layout().slots(ring) - 1) * ring::CHUNK;
            let all = server.load(step_s, first..now).await?;
            filled = filled.max(all.len());
            let history = self.clone();
            tokio::task::spawn_blocking(move || history.fill(ring, &all)).await??;
        }
        Ok(filled)
    }

    fn fill(&self, ring: Ring, all: &[(String, Series)]) -> Result<(), Error> {
        for (id, series) in all {
            // As little as can be: what this history saw itself stays.
            let point = |value: &f64| Point::new(*value, 1.0).unwrap_or_default();
            let points: Vec<Point> = series.values.iter().map(point).collect();
            let written = self.store.fill(id, ring, series.first, &points)?;
            self.metrics.dropped.inc_by(written.dropped);
        }
        self.show();
        Ok(())
    }

    /// Viewers turned away by this scheduler who wait, by region.
    fn refused(&self) -> HashMap<Region, u32> {
        self.outside.by_region(self.clock.unix_ms())
    }

    /// Joins and leaves since the start.
    fn passed(&self) -> MappedMutexGuard<'_, Passed> {
        MutexGuard::map(self.feed.lock(), |feed| &mut feed.passed)
    }

    fn show(&self) {
        self.metrics.series.set(self.store.len() as i64);
        self.metrics
            .bytes
            .set(i64::try_from(self.store.bytes()).unwrap_or(i64::MAX));
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("History")
    }
}

/// How often it is looked whether a step is over: as often as samples come.
const BEAT: Duration = Duration::from_secs(1);

/// Tries to reach Prometheus, with twice the wait after each: half an hour in all.
const ATTEMPTS: u32 = 8;

/// The first of these waits.
const RETRY: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests;
