//! Sans-IO: fixed-step rings: where a step of a series is kept, and what a kept piece looks like.
//!
//! A series has two rings: means over history steps, and coarser ones over a longer past. Each is
//! cut into chunks of [`CHUNK`] points, and a chunk's slot follows from its number, so that a new
//! chunk lies down over the oldest and nothing grows. A chunk knows its number: one of another lap
//! is as good as none.

use serde::{Deserialize, Serialize};

/// Points of a chunk: an hour of minutes, some 300 bytes, of which a page holds a dozen.
pub(super) const CHUNK: i64 = 60;

/// The mean of a step and how many seconds of it were seen; none where nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The mean.
    pub mean: f32,
    /// Seconds of samples behind it.
    pub count: u16,
}

impl Point {
    /// A point of something seen for that many seconds, if its mean is a number that a load can be.
    pub fn new(mean: f64, seconds: f64) -> Option<Self> {
        let mean = mean as f32;
        let valid = mean.is_finite() && mean >= 0.0 && seconds > 0.0;
        valid.then(|| Self {
            mean,
            count: seconds.round().clamp(1.0, u16::MAX.into()) as u16,
        })
    }

    /// The mean as a series has it.
    pub(super) fn value(self) -> f64 {
        if self.count == 0 {
            f64::NAN
        } else {
            self.mean.into()
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// History steps, for 15 days.
    Fine,
    /// Several steps each, for 90 days.
    Coarse,
}

/// Days of the fine ring: two weeks and what is being added.
const FINE_DAYS: u32 = 15;

/// Days of the coarse ring: a quarter of a year.
const COARSE_DAYS: u32 = 90;

/// Fewest steps that make a coarse one: of minutes a billing slot.
const COARSE: u32 = 5;

/// How the rings of a history are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    version: u32,
    /// Calendar seconds of a step.
    pub(super) step_s: u32,
    /// Steps of a coarse one.
    pub(super) coarse: u32,
    fine_slots: u32,
    coarse_slots: u32,
}

/// To be counted up when files of before cannot be read any more.
const VERSION: u32 = 1;

impl Layout {
    /// Rings of such steps, both in calendar seconds. A day is whole coarse steps.
    pub(super) fn new(step_s: u32, day_s: u32) -> Self {
        let step_s = step_s.max(1);
        let steps = (day_s / step_s).max(1);
        let coarse = (COARSE..=steps).find(|n| steps.is_multiple_of(*n));
        let coarse = coarse.unwrap_or(1);
        // One chunk more, because the newest is not full.
        let slots = |days: u32, points: u32| (days * points).div_ceil(CHUNK as u32) + 1;
        Self {
            version: VERSION,
            step_s,
            coarse,
            fine_slots: slots(FINE_DAYS, steps),
            coarse_slots: slots(COARSE_DAYS, steps / coarse),
        }
    }

    /// Calendar seconds of a ring's step.
    pub(super) fn step_s(&self, ring: Ring) -> u32 {
        match ring {
            Ring::Fine => self.step_s,
            Ring::Coarse => self.step_s.saturating_mul(self.coarse),
        }
    }

    /// Chunks of a ring.
    pub(super) fn slots(&self, ring: Ring) -> u32 {
        match ring {
            Ring::Fine => self.fine_slots,
            Ring::Coarse => self.coarse_slots,
        }
    }

    /// The slot of a chunk.
    pub(super) fn slot(&self, ring: Ring, number: i64) -> u32 {
        number.rem_euclid(self.slots(ring).into()) as u32
    }

    /// The most that one series takes in a file, with room for half-empty pages.
    pub(super) fn bytes_per_series(&self) -> u64 {
        let chunks = u64::from(self.fine_slots + self.coarse_slots);
        chunks * (CHUNK as u64 * MOST_BYTES_PER_POINT + BYTES_PER_CHUNK) * 2
    }
}

/// A mean is four bytes, a count up to two while steps are shorter than four hours.
const MOST_BYTES_PER_POINT: u64 = 6;

/// Key, number and length of a chunk, and its entry in the page.
const BYTES_PER_CHUNK: u64 = 40;

/// The chunk of a step and its place in it.
pub(super) fn place(step: i64) -> (i64, usize) {
    (step.div_euclid(CHUNK), step.rem_euclid(CHUNK) as usize)
}

/// Neighbouring points of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Chunk {
    number: i64,
    points: Vec<Point>,
}

impl Chunk {
    /// Nothing known yet.
    pub(super) fn new(number: i64) -> Self {
        Self {
            number,
            points: Vec::new(),
        }
    }

    /// What was kept, when it is a chunk of that number.
    pub(super) fn read(bytes: &[u8], number: i64) -> Option<Self> {
        let chunk: Self = postcard::from_bytes(bytes).ok()?;
        (chunk.number == number && chunk.points.len() <= CHUNK as usize).then_some(chunk)
    }

    /// The bytes to keep.
    pub(super) fn write(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("numbers can be written")
    }

    /// The point at a place.
    pub(super) fn at(&self, index: usize) -> Point {
        self.points.get(index).copied().unwrap_or_default()
    }

    /// Sets the point at a place.
    pub(super) fn set(&mut self, index: usize, point: Point) {
        if self.points.len() <= index {
            self.points.resize(index + 1, Point::default());
        }
        self.points[index] = point;
    }
}

/// The mean of several points by how much was seen of each.
pub(super) fn mean(points: impl Iterator<Item = Point>) -> Option<Point> {
    let (mut sum, mut seconds) = (0.0, 0.0);
    for point in points {
        sum += f64::from(point.mean) * f64::from(point.count);
        seconds += f64::from(point.count);
    }
    Point::new(sum / seconds, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_last_for_their_days() {
        let layout = Layout::new(60, 86_400);
        assert_eq!((layout.coarse, layout.step_s(Ring::Coarse)), (5, 300));
        assert_eq!(layout.slots(Ring::Fine), 15 * 24 + 1);
        assert_eq!(layout.slots(Ring::Coarse), 90 * 24 / 5 + 1);
        assert!(
            layout.bytes_per_series() < 1 << 20,
            "{}",
            layout.bytes_per_series()
        );
        // Whatever the step, a day is whole coarse steps.
        for (step_s, coarse) in [(300, 6), (900, 6), (3_600, 6), (1_350, 8), (86_400, 1)] {
            assert_eq!(Layout::new(step_s, 86_400).coarse, coarse, "{step_s}");
        }
    }

    #[test]
    fn a_chunk_of_another_lap_is_none() {
        let layout = Layout::new(60, 86_400);
        let (number, index) = place(-1);
        assert_eq!((number, index), (-1, 59));
        let mut chunk = Chunk::new(number);
        let point = Point::new(2.5, 60.0).unwrap();
        chunk.set(index, point);
        let bytes = chunk.write();
        assert_eq!(Chunk::read(&bytes, number).unwrap().at(index), point);
        let lap = i64::from(layout.slots(Ring::Fine));
        assert_eq!(
            layout.slot(Ring::Fine, number),
            layout.slot(Ring::Fine, number + lap)
        );
        assert_eq!(Chunk::read(&bytes, number + lap), None);
        assert_eq!(Chunk::read(&bytes[..5], number), None);
        assert_eq!(chunk.at(58), Point::default());
    }

    #[test]
    fn a_mean_weighs_what_was_seen() {
        let point = |mean, seconds| Point::new(mean, seconds).unwrap();
        let all = [point(10.0, 60.0), Point::default(), point(40.0, 30.0)];
        assert_eq!(mean(all.into_iter()), Some(point(20.0, 90.0)));
        assert_eq!(mean([Point::default()].into_iter()), None);
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(Point::new(bad, 1.0), None, "{bad}");
        }
        assert_eq!(Point::new(1.0, 0.0), None);
    }
}
