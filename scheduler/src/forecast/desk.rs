//! Sans-IO: the forecasts of many series, step by step, with what is known beside each of them.
//!
//! What the models say is lifted by what was announced and has not come yet, replaced by what its
//! past shows say while a stream is young, and never below who stays and who joins while a crowd
//! comes. Quantiles move with their median.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use models::calendar::{Clock, Events};
use models::forecast::{Context, Flow, Forecast, Forecaster};
use models::mix::Expert;
use models::train::{Learned, QUANTILES};

use super::subject::Kind;
use super::tally::{Said, Score, Tally};

/// The forecasters of all series that are followed.
pub(super) struct Desk {
    clock: Clock,
    aheads: Vec<usize>,
    lines: BTreeMap<String, Line>,
    tally: Tally,
    drifts: BTreeMap<Kind, u64>,
}

/// A step of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub step: i64,
    pub value: f64,
    pub flow: Option<Flow>,
}

/// What is known beside a series, one a horizon where there are several.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// What announced events bring from now until then.
    pub lifts: Vec<f64>,
    /// What past shows say of a young stream.
    pub shows: Vec<Option<f64>>,
    /// Whether a crowd is coming.
    pub surge: bool,
}

/// One series.
struct Line {
    kind: Kind,
    forecaster: Forecaster,
    /// What was said and has not come yet, by horizon.
    said: Vec<VecDeque<Said>>,
    /// What was said for each step that has come, of one horizon.
    trail: VecDeque<Said>,
    /// What the models said of the last step.
    last: Option<(Row, Vec<Forecast>)>,
    expected: Arc<Expected>,
}

/// What is expected of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// What it is of.
    pub kind: Kind,
    /// The step that is forecast from.
    pub step: i64,
    /// The value there; NaN of a gap.
    pub now: f64,
    /// By horizon, nearest first.
    pub lanes: Vec<Lane>,
    /// How often it changed its ways.
    pub drifts: u64,
    /// The step at which that was noticed last.
    pub drifted: Option<i64>,
}

/// What is expected at one horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// How many steps ahead.
    pub ahead: usize,
    /// As likely more as less.
    pub median: f64,
    /// One for each of [`QUANTILES`], never below the median.
    pub quantiles: [f64; QUANTILES.len()],
    /// Whether the quantile of 0.9 has held for the last hour.
    pub holds: bool,
    /// The share that each expert has in the median; zero of the silent.
    pub weights: [f64; Expert::ALL.len()],
}

impl Lane {
    /// The same around another median: quantiles keep their distance as a factor.
    pub(super) fn moved(&self, median: f64) -> Self {
        let factor = if self.median > 0.0 {
            median / self.median
        } else {
            1.0
        };
        Self {
            median,
            quantiles: self.quantiles.map(|value| (value * factor).max(median)),
            ..self.clone()
        }
    }

    /// What is not passed in that share of cases: the next quantile that is known.
    pub fn at_risk(&self, share: f64) -> f64 {
        if share <= 0.5 {
            return self.median;
        }
        let known = QUANTILES.iter().zip(self.quantiles);
        let mut reaching = known.filter(|(quantile, _)| f64::from(**quantile) + 1e-6 >= share);
        reaching
            .next()
            .map_or(self.quantiles[QUANTILES.len() - 1], |(_, value)| value)
    }
}

impl Desk {
    /// Follows nothing yet.
    pub(super) fn new(clock: Clock, aheads: Vec<usize>) -> Self {
        Self {
            clock,
            aheads,
            lines: BTreeMap::new(),
            tally: Tally::default(),
            drifts: BTreeMap::new(),
        }
    }

    /// Horizons in steps.
    pub(super) fn aheads(&self) -> &[usize] {
        &self.aheads
    }

    /// The last step taken of a series.
    pub(super) fn step(&self, id: &str) -> Option<i64> {
        let line = self.lines.get(id)?;
        Some(line.expected.step)
    }

    /// Follows these only; what else was followed is forgotten.
    pub(super) fn keep(&mut self, ids: &[String]) {
        let ids: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
        self.lines.retain(|id, _| ids.contains(id.as_str()));
    }

    /// Begins to follow a series by its past, oldest step first; forecasts of the past are not
    /// judged. What was learned is asked from the step `asked` on only, which is what weights and
    /// corrections remember.
    pub(super) fn begin(
        &mut self,
        id: &str,
        rows: &[Row],
        asked: i64,
        (events, learned, hints): (&Events, &[Learned], &Hints),
    ) {
        let Some(kind) = Kind::of(id) else {
            return;
        };
        let mut line = Line::new(kind, self.clock, &self.aheads);
        for (nth, row) in rows.iter().enumerate() {
            let learned = if row.step >= asked { learned } else { &[] };
            let forecasts = line.update(row, (events, learned));
            if nth + 1 == rows.len() {
                line.say(*row, forecasts, hints);
            }
        }
        if !rows.is_empty() {
            self.lines.insert(id.to_owned(), line);
        }
    }

    /// Takes new steps of a series that is followed.
    pub(super) fn take(
        &mut self,
        id: &str,
        rows: &[Row],
        (events, learned, hints): (&Events, &[Learned], &Hints),
    ) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        let hour_steps = self.clock.hour_steps() as i64;
        for row in rows {
            let (before, kind) = (line.expected.drifts, line.kind);
            let forecasts = line.update(row, (events, learned));
            line.judge(row, |nth, said| {
                let hour = row.step.div_euclid(hour_steps);
                self.tally.add((kind, nth), hour, (row.value, said));
            });
            line.say(*row, forecasts, hints);
            *self.drifts.entry(kind).or_default() += line.expected.drifts - before;
        }
    }

    /// Says anew what is expected of a series, because of what is known beside it now.
    pub(super) fn say_again(&mut self, id: &str, hints: &Hints) {
        if let Some(line) = self.lines.get_mut(id)
            && let Some((row, forecasts)) = line.last.take()
        {
            line.say(row, forecasts, hints);
        }
    }

    /// The last step taken of a series, with its value.
    pub(super) fn last(&self, id: &str) -> Option<Row> {
        let (row, _) = self.lines.get(id)?.last.as_ref()?;
        Some(*row)
    }

    /// What is expected of each series.
    pub(super) fn expected(&self) -> BTreeMap<String, Arc<Expected>> {
        let lines = self.lines.iter();
        lines
            .map(|(id, line)| (id.clone(), line.expected.clone()))
            .collect()
    }

    /// The scores of the day that ends with a step.
    pub(super) fn day(&self, step: i64) -> Vec<((Kind, usize), Score)> {
        self.tally
            .day(step.div_euclid(self.clock.hour_steps() as i64))
    }

    /// How often series changed their ways while they were followed.
    pub(super) fn drifts(&self) -> &BTreeMap<Kind, u64> {
        &self.drifts
    }

    /// What was said of the last day's steps, of the horizon [`Desk::trailed`].
    pub(super) fn trail(&self, id: &str) -> Option<Vec<Said>> {
        let line = self.lines.get(id)?;
        Some(line.trail.iter().copied().collect())
    }

    /// The number of the horizon whose forecasts are kept.
    pub(super) fn trailed(&self) -> usize {
        self.aheads.len() / 2
    }
}

impl Line {
    fn new(kind: Kind, clock: Clock, aheads: &[usize]) -> Self {
        let nothing = Expected {
            kind,
            step: i64::MIN,
            now: f64::NAN,
            lanes: Vec::new(),
            drifts: 0,
            drifted: None,
        };
        Self {
            kind,
            forecaster: Forecaster::new(clock, aheads),
            said: vec![VecDeque::new(); aheads.len()],
            trail: VecDeque::new(),
            last: None,
            expected: Arc::new(nothing),
        }
    }

    fn update(&mut self, row: &Row, (events, learned): (&Events, &[Learned])) -> Vec<Forecast> {
        let context = Context {
            flow: row.flow,
            events,
            learned,
        };
        self.forecaster
            .update((row.step, row.value * self.kind.unit()), context)
    }

    /// Takes what came of what was said for a step.
    fn judge(&mut self, row: &Row, mut told: impl FnMut(usize, &Said)) {
        let trailed = self.said.len() / 2;
        for (nth, said) in self.said.iter_mut().enumerate() {
            while let Some(first) = said.pop_front_if(|first| first.step <= row.step) {
                if first.step == row.step && row.value.is_finite() {
                    told(nth, &first);
                }
                if nth == trailed {
                    self.trail.push_back(first);
                }
            }
        }
        let most = self.forecaster.past().clock().day;
        while self.trail.len() > most {
            self.trail.pop_front();
        }
    }

    fn say(&mut self, row: Row, forecasts: Vec<Forecast>, hints: &Hints) {
        let unit = self.kind.unit();
        let lane = |(nth, forecast): (usize, &Forecast)| {
            let (median, quantiles) = heeding(forecast, row.value * unit, (hints, nth));
            Lane {
                ahead: forecast.ahead,
                median: median / unit,
                quantiles: quantiles.map(|quantile| quantile / unit),
                holds: self.forecaster.holds(nth),
                weights: self.forecaster.weights(nth).unwrap_or_default(),
            }
        };
        let lanes: Vec<Lane> = forecasts.iter().enumerate().map(lane).collect();
        if row.value.is_finite() {
            for (said, lane) in self.said.iter_mut().zip(&lanes) {
                let step = row.step + lane.ahead as i64;
                // The last word counts.
                said.pop_back_if(|last| last.step == step);
                said.push_back(Said {
                    step,
                    now: row.value,
                    median: lane.median,
                    quantiles: lane.quantiles,
                });
            }
        }
        self.last = Some((row, forecasts));
        let drifts = self.forecaster.drifts();
        self.expected = Arc::new(Expected {
            kind: self.kind,
            step: row.step,
            now: row.value,
            lanes,
            drifts: drifts.count,
            drifted: drifts.last,
        });
    }
}

/// Median and quantiles with what is known beside the series at the `nth` horizon; `now` is the
/// last value.
pub fn heeding(
    forecast: &Forecast,
    now: f64,
    (hints, nth): (&Hints, usize),
) -> (f64, [f64; QUANTILES.len()]) {
    let said = |expert: Expert| {
        let value = forecast.experts[expert as usize];
        value.is_finite().then_some(value)
    };
    let mut median = forecast.median;
    let staying = said(Expert::BirthDeath);
    if let Some(show) = hints.shows.get(nth).copied().flatten() {
        // Both are rough, and err by factors.
        median = staying.map_or(show, |staying| (show * staying).sqrt());
    }
    if hints.surge {
        median = median.max(staying.unwrap_or(0.0));
    }
    let lift = hints.lifts.get(nth).copied().unwrap_or(0.0);
    if lift > 0.0 {
        median = median.max(now.max(0.0) + lift);
    }
    let moved = (median + 1.0) / (forecast.median + 1.0);
    (
        median,
        forecast.quantiles.map(|it| (it * moved).max(median)),
    )
}

#[cfg(test)]
mod tests {
    use models::calendar::Calendar;

    use super::*;

    const ID: &str = "region/DE/demand";

    fn desk() -> Desk {
        let calendar = Calendar {
            day_s: 2880,
            week_s: 7 * 2880,
        };
        Desk::new(calendar.clock(60), vec![1, 3, 12])
    }

    fn row(step: i64, value: f64) -> Row {
        Row {
            step,
            value,
            flow: None,
        }
    }

    fn none() -> Events {
        Events::default()
    }

    #[test]
    fn a_series_is_begun_by_its_past_and_judged_by_what_comes() {
        let mut desk = desk();
        let past: Vec<Row> = (0..200).map(|step| row(step, 50.0)).collect();
        desk.begin(ID, &past, 100, (&none(), &[], &Hints::default()));
        assert_eq!(desk.step(ID), Some(199));
        assert!(desk.day(199).is_empty(), "the past is not judged");
        for step in 200..240 {
            desk.take(ID, &[row(step, 50.0)], (&none(), &[], &Hints::default()));
        }
        let day = desk.day(239);
        let keys: Vec<_> = day.iter().map(|(key, _)| *key).collect();
        assert_eq!(
            keys,
            [(Kind::Region, 0), (Kind::Region, 1), (Kind::Region, 2)]
        );
        assert_eq!(day[0].1.count, 40);
        assert!(day[0].1.wape().unwrap() < 0.01);
        assert_eq!(desk.trail(ID).unwrap().len(), 38, "of three steps ahead");
        let expected = &desk.expected()[ID];
        assert_eq!((expected.step, expected.lanes.len()), (239, 3));
        let lane = &expected.lanes[1];
        assert!((lane.median - 50.0).abs() < 1.0 && lane.quantiles[0] >= lane.median);
        assert!((lane.weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        desk.keep(&[]);
        assert!(desk.expected().is_empty() && desk.trail(ID).is_none());
    }

    #[test]
    fn a_processors_share_keeps_its_unit() {
        let mut desk = desk();
        let past: Vec<Row> = (0..100).map(|step| row(step, 0.4)).collect();
        desk.begin("node/a/cpu", &past, 0, (&none(), &[], &Hints::default()));
        let lane = &desk.expected()["node/a/cpu"].lanes[0];
        assert!(
            (lane.median - 0.4).abs() < 0.02 && lane.quantiles[2] < 0.8,
            "{lane:?}"
        );
    }

    #[test]
    fn what_is_known_beside_a_series_moves_its_forecast() {
        let flow = Flow {
            joins_per_s: 5.0,
            leaves_per_s: 0.1,
        };
        let expect = |hints: Hints| {
            let mut desk = desk();
            let past: Vec<Row> = (0..100)
                .map(|step| Row {
                    flow: Some(flow),
                    ..row(step, 50.0)
                })
                .collect();
            desk.begin(ID, &past, 0, (&none(), &[], &hints));
            desk.expected()[ID].lanes[1].clone()
        };
        let plain = expect(Hints::default());
        let lifted = expect(Hints {
            lifts: vec![0.0, 1000.0, 0.0],
            ..Hints::default()
        });
        assert!(
            plain.median < 100.0 && (lifted.median - 1050.0).abs() < 1.0,
            "{lifted:?}"
        );
        assert!(lifted.quantiles[0] >= lifted.median);
        let surge = expect(Hints {
            surge: true,
            ..Hints::default()
        });
        assert!(surge.median > 5.0 * plain.median, "{surge:?}");
        let show = expect(Hints {
            shows: vec![Some(20.0), Some(20.0), None],
            ..Hints::default()
        });
        let between = (surge.median * 20.0).sqrt();
        assert!((show.median / between - 1.0).abs() < 0.1, "{show:?}");
    }

    #[test]
    fn what_is_said_again_is_what_is_judged() {
        let mut desk = desk();
        let past: Vec<Row> = (0..100).map(|step| row(step, 50.0)).collect();
        desk.begin(ID, &past, 0, (&none(), &[], &Hints::default()));
        let hints = Hints {
            lifts: vec![1000.0; 3],
            ..Hints::default()
        };
        desk.say_again(ID, &hints);
        assert!(desk.expected()[ID].lanes[0].median > 1000.0);
        assert_eq!(desk.last(ID).unwrap().step, 99);
        desk.take(ID, &[row(100, 1050.0)], (&none(), &[], &Hints::default()));
        let day = desk.day(100);
        assert_eq!((day[0].1.count, day.len()), (1, 1));
        assert!(day[0].1.wape().unwrap() < 0.01);
    }

    #[test]
    fn a_series_that_has_just_jumped_up_has_no_endless_quantile() {
        let mut desk = desk();
        let rows: Vec<Row> = (0..60)
            .map(|step| row(step, if step < 3 { 0.0 } else { 1e7 }))
            .collect();
        desk.begin(
            "node/a/egress_bps",
            &rows[..5],
            0,
            (&none(), &[], &Hints::default()),
        );
        for row in &rows[5..] {
            desk.take(
                "node/a/egress_bps",
                &[*row],
                (&none(), &[], &Hints::default()),
            );
            let lanes = &desk.expected()["node/a/egress_bps"].lanes;
            assert!(
                lanes.iter().all(|lane| lane.quantiles[2] <= 1.01e9),
                "{lanes:?}"
            );
        }
    }

    #[test]
    fn gaps_are_survived_and_not_judged() {
        let mut desk = desk();
        desk.begin(ID, &[row(0, 5.0)], 0, (&none(), &[], &Hints::default()));
        desk.take(
            ID,
            &[row(1, f64::NAN), row(9, 5.0)],
            (&none(), &[], &Hints::default()),
        );
        assert!(desk.day(9).is_empty() && desk.step(ID) == Some(9));
        desk.take(
            "region/none/demand",
            &[row(1, 5.0)],
            (&none(), &[], &Hints::default()),
        );
        desk.begin(
            "region/none/demand",
            &[],
            0,
            (&none(), &[], &Hints::default()),
        );
        assert_eq!(desk.expected().len(), 1);
    }
}
