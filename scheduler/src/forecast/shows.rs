//! Sans-IO: streams that have just begun, and the shapes of past shows that tell what to expect.
//!
//! A publisher is known by the name of its stream: its address changes. Ages are calendar time.

use std::collections::HashMap;

use cluster::stream::StreamKey;
use models::cold::{SLOT_S, Templates};
use models::series::Series;

/// Shows on air, and what past ones were like.
#[derive(Debug, Default)]
pub(super) struct Shows {
    templates: Templates,
    /// When each began, in calendar seconds.
    on_air: HashMap<StreamKey, i64>,
}

/// A show that ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub stream: StreamKey,
    /// Calendar seconds from its start to its end.
    pub began_s: i64,
    pub ended_s: i64,
}

/// Until a stream is so old its own past says too little: 20 minutes.
const YOUNG_S: i64 = 1_200;

/// A show shorter than this is a test of an encoder.
const LEAST_S: i64 = 300;

/// The longest part of a show that has a shape: four hours.
const LONGEST_S: i64 = 4 * 3_600;

/// Shows followed: ten edges' longest lists.
const MAX_ON_AIR: usize = 10_000;

impl Shows {
    /// With what is known of past ones, as bytes of [`Shows::keep`]; whatever cannot be read is
    /// none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let templates = postcard::from_bytes(bytes).ok()?;
        Some(Self {
            templates,
            on_air: HashMap::new(),
        })
    }

    /// What is known of past shows, as bytes.
    pub(super) fn keep(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.templates).expect("numbers can be written")
    }

    /// Takes which streams are on air at a calendar second, with when they began; those that are
    /// not any more.
    pub(super) fn follow(&mut self, now: HashMap<StreamKey, i64>, at_s: i64) -> Vec<Ended> {
        let is_gone = |(stream, began_s): (&StreamKey, &i64)| {
            let same = now.get(stream) == Some(began_s);
            (!same).then(|| Ended {
                stream: stream.clone(),
                began_s: *began_s,
                ended_s: at_s,
            })
        };
        let mut ended: Vec<Ended> = self.on_air.iter().filter_map(is_gone).collect();
        ended.retain(|show| show.ended_s - show.began_s >= LEAST_S);
        self.on_air = now.into_iter().take(MAX_ON_AIR).collect();
        ended
    }

    /// Learns the viewers of a show.
    pub(super) fn learn(&mut self, show: &Ended, viewers: &Series) {
        let slots = (show.ended_s - show.began_s).min(LONGEST_S) / i64::from(SLOT_S);
        let at = |slot: i64| {
            let second = show.began_s + slot * i64::from(SLOT_S);
            viewers.at(second.div_euclid(viewers.step_s.into()))
        };
        let shape: Vec<f64> = (0..slots).map(at).collect();
        self.templates.learn(show.stream.as_str(), &shape);
    }

    /// The viewers of a young stream after each of these calendar seconds; none of an old one, or
    /// when nothing is known of any show.
    pub(super) fn expect(
        &self,
        stream: &str,
        (at_s, now): (i64, f64),
        aheads_s: impl Iterator<Item = u32>,
    ) -> Vec<Option<f64>> {
        let age = self.on_air.get(stream).map(|began_s| at_s - began_s);
        let Some(age) = age.filter(|age| (0..YOUNG_S).contains(age)) else {
            return Vec::new();
        };
        let age_s = u32::try_from(age).unwrap_or(0);
        let expect = |ahead_s| self.templates.expect(stream, now.max(0.0), age_s, ahead_s);
        aheads_s.map(expect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> StreamKey {
        StreamKey::parse(name).unwrap()
    }

    fn on_air(list: &[(&str, i64)]) -> HashMap<StreamKey, i64> {
        list.iter().map(|(name, at)| (key(name), *at)).collect()
    }

    #[test]
    fn a_show_that_ended_tells_the_next_one() {
        let mut shows = Shows::default();
        assert!(shows.follow(on_air(&[("live/a", 600)]), 600).is_empty());
        assert!(shows.expect("live/a", (660, 5.0), [300].into_iter()) == [None]);
        let ended = shows.follow(on_air(&[("live/a", 9_000)]), 4_200);
        let show = Ended {
            stream: key("live/a"),
            began_s: 600,
            ended_s: 4_200,
        };
        assert_eq!(ended, std::slice::from_ref(&show));
        // It rises to 1000 for ten minutes and stays there.
        let value = |minute: i64| 1000.0 * ((minute - 9) as f64 / 10.0).clamp(0.0, 1.0);
        let viewers = Series {
            first: 0,
            step_s: 60,
            values: (0..70).map(value).collect(),
        };
        shows.learn(&show, &viewers);
        let mut shows = Shows::read(&shows.keep()).unwrap();
        shows.follow(on_air(&[("live/a", 9_000)]), 9_000);
        let soon = shows.expect("live/a", (9_060, 150.0), [60, 900].into_iter());
        assert!(
            soon[0] < soon[1] && (900.0..1100.0).contains(&soon[1].unwrap()),
            "{soon:?}"
        );
        assert!(
            shows
                .expect("live/a", (9_000 + YOUNG_S, 1.0), [60].into_iter())
                .is_empty()
        );
        assert!(
            shows
                .expect("live/b", (9_000, 1.0), [60].into_iter())
                .is_empty()
        );
    }

    #[test]
    fn what_was_short_or_cannot_be_read_is_nothing() {
        let mut shows = Shows::default();
        shows.follow(on_air(&[("live/a", 600)]), 600);
        assert!(shows.follow(HashMap::new(), 800).is_empty());
        assert!(Shows::read(b"\xff\xff\xff").is_none());
    }
}
