//! How forecasts follow the history: which series, which steps of them, and what is known beside.
//!
//! Everything here blocks, and runs apart from steering. New series begin with their past, as many
//! at a time as take [`BUDGET`]; the others have to wait for the next beat, and no step is missed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cluster::event::Event;
use models::calendar::Clock;
use models::forecast::Flow;
use models::series::Series;
use models::train::Learned;

use super::Forecasts;
use super::announced::{Announced, Came, Crowds, Shares, shares};
use super::desk::{Desk, Hints, Row};
use super::outlook::Outlook;
use super::shows::{Ended, Shows};
use super::subject::{Kind, choose, flow_of};
use crate::history::{Error, Ring};

/// What is worked on, by one thread at a time.
pub(super) struct Work {
    desk: Desk,
    clock: Clock,
    shows: Shows,
    announced: Arc<Announced>,
    /// The step at which that was made.
    announced_at: Option<i64>,
    /// Where the viewers of events that are over came from.
    past: HashMap<u64, Shares>,
    /// Series to follow, and the step at which they were chosen.
    wanted: Vec<String>,
    chosen_at: Option<i64>,
    shows_kept: Option<i64>,
}

impl Work {
    pub(super) fn new(clock: Clock, aheads: Vec<usize>, shows: Shows) -> Self {
        Self {
            desk: Desk::new(clock, aheads),
            clock,
            shows,
            announced: Arc::default(),
            announced_at: None,
            past: HashMap::new(),
            wanted: Vec::new(),
            chosen_at: None,
            shows_kept: None,
        }
    }

    /// Horizons in steps.
    pub(super) fn aheads(&self) -> Vec<usize> {
        self.desk.aheads().to_vec()
    }

    /// What was forecast of the last day's steps, and for which horizon, in steps.
    pub(super) fn trail(&self, id: &str) -> Option<(usize, Vec<super::tally::Said>)> {
        let ahead = *self.desk.aheads().get(self.desk.trailed())?;
        Some((ahead, self.desk.trail(id)?))
    }
}

impl Forecasts {
    /// Takes what is new in the history, and publishes what follows. Blocks.
    pub(super) fn advance(&self) {
        let Some(newest) = self.history.newest() else {
            return;
        };
        let mut work = self.work.lock();
        let work = &mut *work;
        if let Err(error) = self.step(work, newest) {
            tracing::error!(%error, "the history cannot be read: forecasts are old");
        }
    }

    fn step(&self, work: &mut Work, newest: i64) -> Result<(), Error> {
        let is_new = work.chosen_at != Some(newest);
        let is_stale = self.stale.load(Ordering::Acquire);
        if is_new || is_stale {
            self.prepare(work, newest)?;
        }
        let waiting = |id: &&String| work.desk.step(id).is_none_or(|step| step < newest);
        let waiting: Vec<String> = work.wanted.iter().filter(waiting).cloned().collect();
        if waiting.is_empty() && !is_new && !is_stale {
            return Ok(());
        }
        let model = self.trainer.model();
        let learned = model
            .as_ref()
            .map_or(&[][..], |trained| &trained.model.learned);
        let began = Instant::now();
        for id in waiting {
            let is_followed = work.desk.step(&id).is_some();
            if is_followed || began.elapsed() < BUDGET {
                self.take(work, &id, newest, learned)?;
            }
        }
        if is_stale {
            self.say_again(work)?;
        }
        self.publish(work, newest);
        Ok(())
    }

    /// Heeds events and crowds that were not known when forecasts were made.
    fn say_again(&self, work: &mut Work) -> Result<(), Error> {
        for id in work.wanted.clone() {
            if let Some(last) = work.desk.last(&id) {
                let crowds = work.announced.crowds(&id, self.time());
                let hints = self.hints(work, &id, &[last], &crowds)?;
                work.desk.say_again(&id, &hints);
            }
        }
        Ok(())
    }

    /// Chooses what to follow, and looks which shows and events there are.
    fn prepare(&self, work: &mut Work, newest: i64) -> Result<(), Error> {
        self.follow_shows(work, newest)?;
        let hour = work.clock.hour_steps() as i64;
        let is_old = work.announced_at.is_none_or(|at| newest - at >= hour);
        if self.stale.swap(false, Ordering::AcqRel) || is_old {
            let events = self.events.load_full();
            let past = self.past_shares(&events, std::mem::take(&mut work.past))?;
            let usual = self.usual_shares(newest)?;
            work.past = past.clone();
            work.announced = Arc::new(Announced::new(events.to_vec(), past, usual));
            work.announced_at = Some(newest);
        }
        let mut candidates = Vec::new();
        // When a series was heard of is kept only now and then: its values tell.
        let heard = self.history.list("").into_iter().map(|(id, _)| id);
        for id in heard.filter(|id| Kind::of(id).is_some()) {
            let last = self.steps(&id, newest + 1 - hour..newest + 1)?;
            let load = last.values.iter().rev().find(|value| value.is_finite());
            candidates.extend(load.map(|load| (id, *load)));
        }
        work.wanted = choose(candidates, self.config.series as usize);
        work.desk.keep(&work.wanted);
        work.chosen_at = Some(newest);
        Ok(())
    }

    /// Lets one series take its new steps, or begin with its past.
    fn take(
        &self,
        work: &mut Work,
        id: &str,
        newest: i64,
        learned: &[Learned],
    ) -> Result<(), Error> {
        let crowds = work.announced.crowds(id, self.time());
        let known = work.desk.step(id);
        let day = work.clock.day as i64;
        let first = known.map_or(newest - REPLAYED_DAYS * day, |step| step + 1);
        let rows = self.rows(id, first..newest + 1)?;
        let hints = self.hints(work, id, &rows, &crowds)?;
        let beside = (&crowds.events, learned, &hints);
        match known {
            Some(_) => work.desk.take(id, &rows, beside),
            None => work
                .desk
                .begin(id, &rows, newest - ASKED_DAYS * day, beside),
        }
        Ok(())
    }

    fn rows(&self, id: &str, steps: std::ops::Range<i64>) -> Result<Vec<Row>, Error> {
        let values = self.steps(id, steps.clone())?;
        let flow = match flow_of(id) {
            Some([joins, leaves]) => Some((
                self.steps(&joins, steps.clone())?,
                self.steps(&leaves, steps)?,
            )),
            None => None,
        };
        let row = |(step, value): (i64, &f64)| {
            let flow = flow.as_ref().map(|(joins, leaves)| Flow {
                joins_per_s: joins.at(step),
                leaves_per_s: leaves.at(step),
            });
            Row {
                step,
                value: *value,
                flow,
            }
        };
        Ok((values.first..).zip(&values.values).map(row).collect())
    }

    /// What is known beside a series at its last step.
    fn hints(&self, work: &Work, id: &str, rows: &[Row], crowds: &Crowds) -> Result<Hints, Error> {
        let Some(last) = rows.last() else {
            return Ok(Hints::default());
        };
        let from_s = work.clock.second(last.step + 1);
        let step_s = self.time().step_s();
        let seconds = |ahead: &usize| {
            u32::try_from(*ahead)
                .unwrap_or(u32::MAX)
                .saturating_mul(step_s)
        };
        let aheads_s = work.desk.aheads().iter().map(seconds);
        let came = self.came(work, id, last, crowds)?;
        let lift = |ahead_s: u32| crowds.lift((from_s, from_s + i64::from(ahead_s)), &came);
        let stream = match Kind::of(id) {
            Some(Kind::Stream) => id
                .split_once('/')
                .and_then(|(_, rest)| rest.rsplit_once('/')),
            _ => None,
        };
        let shows = stream.map(|(stream, _)| {
            work.shows
                .expect(stream, (from_s, last.value), aheads_s.clone())
        });
        Ok(Hints {
            lifts: aheads_s.map(lift).collect(),
            shows: shows.unwrap_or_default(),
            surge: self.outlook.load().surge(id).is_some(),
        })
    }

    /// How much has come, by a step, of the announced crowds that are coming.
    fn came(
        &self,
        work: &Work,
        id: &str,
        last: &Row,
        crowds: &Crowds,
    ) -> Result<Vec<(usize, Came)>, Error> {
        let step_s = self.time().step_s();
        let last = (work.clock.second(last.step), last.value);
        crowds.came(last, step_s, |second| {
            let step = second.div_euclid(step_s.into());
            Ok(self.steps(id, step..step + 1)?.at(step))
        })
    }

    fn publish(&self, work: &Work, newest: i64) {
        let now_ms = self.clock.unix_ms();
        let scores = Arc::new(work.desk.day(newest));
        let series = Arc::new(work.desk.expected());
        let model = self.trainer.model();
        for (kind, count) in work.desk.drifts() {
            self.meter.drifts(*kind, *count);
        }
        let ahead = self
            .events
            .load()
            .iter()
            .filter(|event| !event.is_over(now_ms))
            .count();
        self.meter.show(&scores, &self.horizons_s);
        self.meter.size(series.len(), ahead);
        if let Some(trained) = &model {
            let now_s = (now_ms / 1000) as i64;
            self.meter
                .age(now_s.saturating_sub(trained.model.card.trained_at_s));
        }
        self.outlook.rcu(|outlook| Outlook {
            made_ms: now_ms,
            step: newest,
            step_s: self.time().step_s(),
            series: series.clone(),
            surges: outlook.surges.clone(),
            basis: outlook.basis,
            model: model.clone(),
            scores: scores.clone(),
        });
    }

    /// Notes who is on air, and learns the shows that are over.
    fn follow_shows(&self, work: &mut Work, newest: i64) -> Result<(), Error> {
        let time = self.time();
        let streams = self.snapshot.load().streams.clone();
        let began = streams
            .iter()
            .map(|(key, record)| (key.clone(), time.calendar_s(record.started_ms)));
        let ended = work
            .shows
            .follow(began.collect(), work.clock.second(newest + 1));
        for show in &ended {
            self.learn_show(work, show)?;
        }
        let hour = work.clock.hour_steps() as i64;
        let is_due = work.shows_kept.is_none_or(|at| newest - at >= hour);
        if !ended.is_empty() && is_due {
            self.trainer.keep_shows(&work.shows.keep());
            work.shows_kept = Some(newest);
        }
        Ok(())
    }

    fn learn_show(&self, work: &mut Work, show: &Ended) -> Result<(), Error> {
        let id = format!("stream/{}/viewers", show.stream);
        let calendar_s = show.began_s..show.ended_s;
        if let Some(viewers) = self.history.series(&id, Ring::Fine, calendar_s)? {
            work.shows.learn(show, &viewers);
        }
        Ok(())
    }

    /// Where the viewers of each event that is over came from: how much more there were at its peak
    /// than at its start, by region.
    fn past_shares(
        &self,
        events: &[Event],
        mut known: HashMap<u64, Shares>,
    ) -> Result<HashMap<u64, Shares>, Error> {
        let now_ms = self.clock.unix_ms();
        known.retain(|id, _| events.iter().any(|event| event.id == *id));
        for event in events.iter().filter(|event| event.is_over(now_ms)) {
            if known.contains_key(&event.id) {
                continue;
            }
            let at = |ms: u64| self.time().step_at(ms);
            let (start, end) = (at(event.start_ms), at(event.end_ms()));
            let peak = at(event.start_ms + u64::from(event.ramp_s) * 1000).min(end - 1);
            let mut rises = Vec::new();
            for region in self.regions() {
                let id = format!("region/{region}/demand");
                let during = self.steps(&id, start - 1..end)?;
                let rise = mean(&during, peak..end) - mean(&during, start - 1..start);
                rises.push((region, rise));
            }
            let came = shares(rises.into_iter());
            if !came.is_empty() {
                known.insert(event.id, came);
            }
        }
        Ok(known)
    }

    /// Where viewers were in the last day.
    fn usual_shares(&self, newest: i64) -> Result<Shares, Error> {
        let day = i64::from(self.time().day_s() / self.time().step_s());
        let mut means = BTreeMap::new();
        for region in self.regions() {
            let steps = newest - day..newest + 1;
            let series = self.steps(&format!("region/{region}/demand"), steps.clone())?;
            means.insert(region, mean(&series, steps));
        }
        Ok(shares(means.into_iter()))
    }

    fn regions(&self) -> Vec<String> {
        let region = |(id, _): (String, i64)| {
            let region = id.strip_prefix("region/")?.strip_suffix("/demand")?;
            Some(region.to_owned())
        };
        self.history
            .list("region/")
            .into_iter()
            .filter_map(region)
            .collect()
    }

    /// Steps of a series; empty when it is not known.
    fn steps(&self, id: &str, steps: std::ops::Range<i64>) -> Result<Series, Error> {
        let step_s = self.time().step_s();
        let seconds = |step: i64| step.saturating_mul(step_s.into());
        let found =
            self.history
                .series(id, Ring::Fine, seconds(steps.start)..seconds(steps.end))?;
        Ok(found.unwrap_or(Series {
            first: steps.start,
            step_s,
            values: Vec::new(),
        }))
    }

    /// The events as series see them, for a training.
    pub(super) fn announced(&self, newest: i64) -> Arc<Announced> {
        let mut work = self.work.lock();
        if let Err(error) = self.prepare(&mut work, newest) {
            tracing::error!(%error, "the history cannot be read");
        }
        work.announced.clone()
    }

    /// What there is to learn from: what is followed first, then the rest.
    pub(super) fn to_learn(&self) -> Vec<String> {
        let mut ids = self.work.lock().wanted.clone();
        let first: HashSet<String> = ids.iter().cloned().collect();
        let rest = self.history.list("").into_iter().map(|(id, _)| id);
        ids.extend(rest.filter(|id| Kind::of(id).is_some() && !first.contains(id)));
        ids
    }

    /// The last days of a series as models see it; none of one that is too short to tell anything.
    pub(super) fn read(&self, id: &str, newest: i64, days: u32) -> Result<Option<Series>, Error> {
        let day = i64::from(self.time().day_s() / self.time().step_s());
        let mut series = self.steps(id, newest + 1 - i64::from(days) * day..newest + 1)?;
        let unit = Kind::of(id).map_or(1.0, Kind::unit);
        series.values.iter_mut().for_each(|value| *value *= unit);
        let known = series
            .values
            .iter()
            .filter(|value| value.is_finite())
            .count();
        Ok((known as i64 * 2 >= day).then_some(series))
    }
}

/// The mean of what is known of some steps; zero of nothing.
fn mean(series: &Series, steps: std::ops::Range<i64>) -> f64 {
    let known = steps
        .map(|step| series.at(step))
        .filter(|value| value.is_finite());
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Time that series may take to begin before what is there is published.
const BUDGET: Duration = Duration::from_secs(1);

/// Days of a series that it begins with: a week is what experts look back, and the day that they
/// compare it with.
const REPLAYED_DAYS: i64 = 8;

/// Days of these in which the learned is asked, too: what weights and corrections remember.
const ASKED_DAYS: i64 = 3;
