//! What is expected of demand and load: forecasts beside the history, off the steering path.
//!
//! Once a step of the history is written, each series that is followed takes it and forecasts anew
//! (`desk`); what comes of that is one immutable [`Outlook`]. A series that is new begins with its
//! past, so that a start is not cold. Unannounced crowds are looked for each second (`surges`);
//! announced ones are kept in the store and offered to the models (`announced`). Models are
//! trained each night and on demand (`training`). All of it runs on threads that may block.
//!
//! Horizons are 1, 5, 15 and 60 minutes of calendar time, as far as they are whole steps.

mod announced;
mod api;
mod config;
mod desk;
mod follow;
mod meter;
mod outlook;
mod shows;
mod subject;
mod surges;
mod tally;
mod training;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use cluster::event::Event;
use cluster::region::Region;
use cluster::store::{self, Store};
use cluster::time::Time;
use models::calendar::Calendar;
use models::pool::Recipe;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};
use transport::clock::Clock;

use crate::history::{History, Subject};
use crate::snapshot::Snapshot;
use follow::Work;
use meter::Meter;
use surges::Surges;
use training::{Lesson, Trainer};

pub use announced::{Came, Crowds};
pub use api::{Announced as Listed, Announcement, Answer, Moment, router};
pub use config::{Basis, Config};
pub use desk::{Expected, Hints, Lane, heeding};
pub use outlook::{Outlook, SURGE_RISK, USUAL_RISK};
pub use subject::Kind;
pub use tally::Score;
pub use training::Trained;

/// The forecasts of a cluster.
pub struct Forecasts {
    config: Config,
    history: Arc<History>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    store: (Arc<dyn Store>, u64),
    events: ArcSwap<Vec<Event>>,
    clock: Clock,
    horizons_s: Vec<u32>,
    outlook: Arc<ArcSwap<Outlook>>,
    work: Mutex<Work>,
    surges: Mutex<Surges>,
    trainer: Arc<Trainer>,
    /// Whether events or crowds came since forecasts were made.
    stale: AtomicBool,
    meter: Meter,
}

/// What forecasts are made from.
pub struct Sources {
    /// What is remembered.
    pub history: Arc<History>,
    /// What is on air.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where events are kept, and the epoch that may change them.
    pub store: (Arc<dyn Store>, u64),
    /// The time.
    pub clock: Clock,
}

impl Forecasts {
    /// Reads what was learned and announced before; `file` is the history's.
    pub async fn load(
        config: Config,
        file: Option<&Path>,
        sources: Sources,
        registry: &mut Registry,
    ) -> anyhow::Result<Arc<Self>> {
        let time = *sources.history.time();
        config.check(&time)?;
        let events = sources.store.0.events().await?;
        let calendar = calendar(&time);
        let trainer = Trainer::load(config.folder(file), (calendar, time.step_s()));
        let horizons_s: Vec<u32> = HORIZONS_S
            .into_iter()
            .filter(|horizon| horizon % time.step_s() == 0)
            .collect();
        let aheads = horizons_s
            .iter()
            .map(|horizon| (horizon / time.step_s()) as usize);
        let shows = trainer.shows().and_then(|bytes| shows::Shows::read(&bytes));
        let clock = calendar.clock(time.step_s());
        let work = Work::new(clock, aheads.collect(), shows.unwrap_or_default());
        let outlook = Outlook {
            basis: config.plan_by,
            ..Outlook::default()
        };
        Ok(Arc::new(Self {
            config,
            history: sources.history,
            snapshot: sources.snapshot,
            store: sources.store,
            events: ArcSwap::from_pointee(events),
            clock: sources.clock,
            horizons_s,
            outlook: Arc::new(ArcSwap::from_pointee(outlook)),
            work: Mutex::new(work),
            surges: Mutex::default(),
            trainer: Arc::new(trainer),
            stale: AtomicBool::new(true),
            meter: Meter::register(registry),
        }))
    }

    /// What is expected, for whoever plans by it.
    pub fn outlook(&self) -> Arc<ArcSwap<Outlook>> {
        self.outlook.clone()
    }

    fn time(&self) -> &Time {
        self.history.time()
    }

    /// Keeps up with the history. Never ends.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.clone().keep_up(), self.watch(), self.clone().learn());
    }

    async fn keep_up(self: Arc<Self>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beat.tick().await;
            let all = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || all.advance()).await {
                tracing::error!(%error, "a step was not forecast");
            }
        }
    }

    /// Looks for crowds that nobody announced. Never ends.
    async fn watch(&self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beat.tick().await;
            self.look();
        }
    }

    /// Looks at the joins of the last seconds.
    fn look(&self) {
        let now_ms = self.clock.unix_ms();
        let mut surges = self.surges.lock();
        let mut recent = self.history.recent();
        // That nobody came is usual, too: bins begin with the process.
        recent.count(now_ms, Subject::Region(Region::UNKNOWN), 0);
        let (begun, moved) = surges.look(&recent, now_ms);
        drop(recent);
        if !moved {
            return;
        }
        let on = Arc::new(surges.on());
        drop(surges);
        self.outlook.rcu(|outlook| Outlook {
            surges: on.clone(),
            ..Outlook::clone(outlook)
        });
        if !begun.is_empty() {
            self.stale.store(true, Ordering::Release);
        }
        for subject in begun {
            self.meter.surge(&subject);
            tracing::warn!(?subject, risk = SURGE_RISK, "an unannounced crowd comes");
        }
    }

    /// Trains once a day. Never ends.
    async fn learn(self: Arc<Self>) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let trained = self.trainer.model().map(|trained| {
            let unix_ms = trained.model.card.trained_at_s.max(0).unsigned_abs() * 1000;
            self.day(unix_ms)
        });
        let mut last = trained.unwrap_or_else(|| self.day(self.clock.unix_ms()));
        loop {
            beat.tick().await;
            let today = self.day(self.clock.unix_ms());
            if today > last {
                last = today;
                if self.train().is_none() {
                    tracing::warn!("the last training is not over: today's is left out");
                }
            }
        }
    }

    /// The day that a Unix time is in, days beginning when it is time to train.
    fn day(&self, unix_ms: u64) -> i64 {
        let into = self.config.train_at.get().as_secs() as i64;
        (self.time().calendar_s(unix_ms) - into).div_euclid(self.time().day_s().into())
    }

    /// Begins a training, unless one goes on.
    fn train(self: &Arc<Self>) -> Option<()> {
        let turn = self.trainer.turn()?;
        let (all, trainer) = (self.clone(), self.trainer.clone());
        tokio::spawn(async move {
            let reader = all.clone();
            let done = trainer.train(turn, move || reader.lesson()).await;
            match &done {
                Ok(took) => tracing::info!(?took, "a forecast model was trained"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "no forecast model was trained");
                }
            }
            all.meter.trained(done.ok());
            all.stale.store(true, Ordering::Release);
        });
        Some(())
    }

    /// What there is to learn from. Blocks.
    fn lesson(&self) -> anyhow::Result<Lesson> {
        let (time, mut series) = (*self.time(), Vec::new());
        let newest = self.history.newest();
        let newest = newest.ok_or_else(|| anyhow::anyhow!("the history is empty"))?;
        let mut room = MOST_VALUES;
        let announced = self.announced(newest);
        for id in self.to_learn() {
            if let Some(known) = self.read(&id, newest, self.config.train_days)? {
                let crowds = announced.crowds(&id, &time);
                if known.values.len() > room {
                    break;
                }
                room -= known.values.len();
                series.push((known, crowds.events));
            }
        }
        anyhow::ensure!(!series.is_empty(), "no series is half a day long yet");
        let now_s = (self.clock.unix_ms() / 1000) as i64;
        let aheads = self.work.lock().aheads();
        let recipe = Recipe::new(calendar(&time), time.step_s(), aheads, now_s);
        Ok(Lesson { series, recipe })
    }

    /// Keeps an event, and heeds it from now on.
    async fn announce(&self, event: Event) -> Result<Event, store::Error> {
        let (store, epoch) = &self.store;
        let id = store
            .announce(*epoch, event.clone(), self.clock.unix_ms())
            .await?;
        self.heed().await?;
        Ok(Event { id, ..event })
    }

    /// Takes an event back; whether there was one.
    async fn withdraw(&self, id: u64) -> Result<bool, store::Error> {
        let (store, epoch) = &self.store;
        let was = store.withdraw(*epoch, id).await?;
        self.heed().await?;
        Ok(was)
    }

    async fn heed(&self) -> Result<(), store::Error> {
        let events = self.store.0.events().await?;
        self.events.store(Arc::new(events));
        self.stale.store(true, Ordering::Release);
        Ok(())
    }
}

impl std::fmt::Debug for Forecasts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forecasts")
    }
}

fn calendar(time: &Time) -> Calendar {
    Calendar {
        day_s: time.day_s(),
        week_s: time.week_s(),
    }
}

/// Calendar seconds ahead: admission reacts within a minute, sessions leave over 5 to 60.
const HORIZONS_S: [u32; 4] = [60, 300, 900, 3_600];

/// How often it is looked whether a step is there: as often as samples come.
const BEAT: Duration = Duration::from_secs(1);

/// Values that a training reads at most, 64 MiB: 400 series of two weeks of minutes.
const MOST_VALUES: usize = 8 << 20;

#[cfg(test)]
mod tests;
