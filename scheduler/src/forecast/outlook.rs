//! What is expected now, as one immutable value that steering, planning and the API read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cluster::region::Region;

use super::config::Basis;
use super::desk::{Expected, Lane};
use super::subject::Kind;
use super::tally::Score;
use super::training::Trained;
use crate::history::Subject;

/// The newest forecasts of all series that are followed.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// When it was made, Unix milliseconds; 0 before the first.
    pub made_ms: u64,
    /// The newest step of the history that it knows.
    pub step: i64,
    /// Calendar seconds of a step.
    pub step_s: u32,
    /// By series of the history: `region/DE/demand`.
    pub series: Arc<BTreeMap<String, Arc<Expected>>>,
    /// Whose unannounced crowds are coming, and since when, Unix milliseconds.
    pub surges: Arc<HashMap<Subject, u64>>,
    /// What was learned, if anything.
    pub model: Option<Arc<Trained>>,
    /// How good forecasts of the last day were, by kind and number of the horizon.
    pub scores: Arc<Vec<((Kind, usize), Score)>>,
    /// How much of it those who plan go by.
    pub basis: Basis,
}

/// The quantile of demand that is planned for.
pub const USUAL_RISK: f32 = 0.9;

/// The same while an unannounced crowd comes.
pub const SURGE_RISK: f32 = 0.99;

impl Outlook {
    /// What is expected of a region's demand that many calendar seconds ahead, or at the nearest
    /// horizon beyond, as far as those who plan go by it.
    pub fn demand(&self, region: &Region, ahead_s: u32) -> Option<Lane> {
        let expected = self.series.get(&format!("region/{region}/demand"))?;
        let reaches = |lane: &&Lane| lane.ahead as u64 * u64::from(self.step_s) >= ahead_s.into();
        let lane = expected.lanes.iter().find(reaches)?;
        match self.basis {
            Basis::Forecast => Some(lane.clone()),
            Basis::Persistence => Some(lane.moved(expected.now)),
            Basis::Nothing => None,
        }
    }

    /// A region's demand at the step that is forecast from, in viewers, if it was seen.
    pub fn now(&self, region: &Region) -> Option<f64> {
        let expected = self.series.get(&format!("region/{region}/demand"))?;
        expected.now.is_finite().then_some(expected.now)
    }

    /// Whether an unannounced crowd comes to a region, as far as those who plan go by it.
    pub fn is_surging(&self, region: &Region) -> bool {
        self.basis == Basis::Forecast && self.surges.contains_key(&Subject::Region(*region))
    }

    /// The quantile of a region's demand that is planned for.
    pub fn risk(&self, region: &Region) -> f32 {
        if self.is_surging(region) {
            SURGE_RISK
        } else {
            USUAL_RISK
        }
    }

    /// Whether a crowd comes to what a series counts, and since when.
    pub(super) fn surge(&self, id: &str) -> Option<u64> {
        self.surges.get(&subject_of(id)?).copied()
    }
}

/// Whose joins tell of a series.
pub(super) fn subject_of(id: &str) -> Option<Subject> {
    let kind = Kind::of(id)?;
    let (_, rest) = id.split_once('/')?;
    let (name, _) = rest.rsplit_once('/')?;
    match kind {
        Kind::Region => Region::parse(name).map(Subject::Region),
        Kind::Stream => cluster::stream::StreamKey::parse(name)
            .ok()
            .map(Subject::Stream),
        _ => None,
    }
}

#[cfg(test)]
impl Outlook {
    /// That of one region whose steps are minutes: its viewers now, and so many steps ahead the
    /// median and the quantiles.
    pub(crate) fn of_region(
        name: &str,
        now: f64,
        (ahead, median, quantiles): (usize, f64, [f64; 3]),
    ) -> Self {
        let lane = Lane {
            ahead,
            median,
            quantiles,
            holds: true,
            weights: Default::default(),
        };
        let expected = Expected {
            kind: Kind::Region,
            step: 0,
            now,
            lanes: vec![lane],
            drifts: 0,
            drifted: None,
        };
        Self {
            step_s: 60,
            series: Arc::new([(format!("region/{name}/demand"), Arc::new(expected))].into()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_with_a_crowd_is_planned_for_with_more_care() {
        let (here, there) = (Region::named("here"), Region::named("there"));
        let outlook = Outlook {
            surges: Arc::new(HashMap::from([(Subject::Region(here), 5)])),
            ..Outlook::default()
        };
        assert_eq!((outlook.risk(&here), outlook.risk(&there)), (0.99, 0.9));
        assert_eq!(outlook.surge("region/here/demand"), Some(5));
        assert_eq!(outlook.surge("region/there/demand"), None);
        assert_eq!(outlook.surge("node/here/cpu"), None);
        assert!(subject_of("stream/live/a/viewers").is_some());
    }

    #[test]
    fn the_horizon_is_the_nearest_that_reaches() {
        let lane = |ahead| Lane {
            ahead,
            median: ahead as f64,
            quantiles: [0.0; 3],
            holds: true,
            weights: Default::default(),
        };
        let expected = Expected {
            kind: Kind::Region,
            step: 1,
            now: 1.0,
            lanes: vec![lane(1), lane(3)],
            drifts: 0,
            drifted: None,
        };
        let outlook = Outlook {
            step_s: 60,
            series: Arc::new([("region/DE/demand".to_owned(), Arc::new(expected))].into()),
            ..Outlook::default()
        };
        let ahead = |seconds| {
            let region = Region::parse("DE").unwrap();
            let lane = outlook.demand(&region, seconds);
            lane.map(|lane| lane.ahead)
        };
        assert_eq!(
            (ahead(30), ahead(60), ahead(61), ahead(181)),
            (Some(1), Some(1), Some(3), None)
        );
        assert!(outlook.demand(&Region::UNKNOWN, 60).is_none());
    }

    #[test]
    fn who_plans_can_go_by_less_than_was_forecast() {
        let here = Region::parse("DE").unwrap();
        let lane = Lane {
            ahead: 5,
            median: 30.0,
            quantiles: [33.0, 36.0, 45.0],
            holds: true,
            weights: Default::default(),
        };
        let expected = Expected {
            kind: Kind::Region,
            step: 1,
            now: 10.0,
            lanes: vec![lane],
            drifts: 0,
            drifted: None,
        };
        let told = |basis| {
            let outlook = Outlook {
                step_s: 60,
                series: Arc::new([("region/DE/demand".to_owned(), expected.clone().into())].into()),
                surges: Arc::new(HashMap::from([(Subject::Region(here), 5)])),
                basis,
                ..Outlook::default()
            };
            let lane = outlook.demand(&here, 300);
            let lane = lane.map(|lane| (lane.median, lane.quantiles));
            (lane, outlook.is_surging(&here))
        };
        let forecast = (30.0, [33.0, 36.0, 45.0]);
        assert_eq!(told(Basis::Forecast), (Some(forecast), true));
        let stays = (10.0, [11.0, 12.0, 15.0]);
        assert_eq!(told(Basis::Persistence), (Some(stays), false));
        assert_eq!(told(Basis::Nothing), (None, false));
    }
}
