//! Sans-IO: the recent past of one series as features and naive experts read it: `ln(1 + y)` a step, without gaps.
//!
//! A gap is bridged by yesterday's movement, or by the last value, so that what reads it stays finite; bridged steps are
//! never labels. It holds a week and what is needed before it; a gap longer than that begins the series anew.

use crate::calendar::Clock;

/// The past of one series.
#[derive(Clone, Debug)]
pub struct History {
    clock: Clock,
    /// `ln(1 + y)`, the last one at step `end - 1`.
    values: Vec<f32>,
    end: i64,
    /// Steps since the series began that are still here or were once.
    age: usize,
    /// Steps since the last one that was known.
    unknown: usize,
}

/// Steps before a week ago that features still look at.
pub const MARGIN: usize = 64;

impl History {
    /// Of a series that has not begun.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            values: Vec::new(),
            end: 0,
            age: 0,
            unknown: 0,
        }
    }

    /// Takes the value of a step; NaN is a gap, and steps that were left out are too. Whether it was taken: what came
    /// before is not, nor is what no calendar reaches, nor a gap where a series would begin.
    pub fn push(&mut self, step: i64, value: f64) -> bool {
        let known = value.is_finite() && value >= 0.0;
        let keep = self.clock.week + MARGIN;
        if step.unsigned_abs() > FARTHEST {
            return false;
        }
        let skipped = step - self.end;
        if self.age == 0 || skipped > keep as i64 {
            if !known {
                return false;
            }
            self.values.clear();
            (self.end, self.age) = (step, 0);
        } else if skipped < 0 {
            return false;
        }
        while self.end < step {
            self.append(self.bridge());
            self.unknown += 1;
        }
        if known {
            self.append(libm::log1p(value.min(MOST)) as f32);
            self.unknown = 0;
        } else {
            self.append(self.bridge());
            self.unknown += 1;
        }
        if self.values.len() > 2 * keep {
            self.values.drain(..self.values.len() - keep);
        }
        true
    }

    fn append(&mut self, value: f32) {
        self.values.push(value);
        self.end += 1;
        self.age += 1;
    }

    /// What a step without a value was probably like.
    fn bridge(&self) -> f32 {
        let moved = match (self.back(self.clock.day - 1), self.back(self.clock.day)) {
            (Some(then), Some(before)) if self.clock.day > 1 => then - before,
            _ => 0.0,
        };
        (self.now() + moved).max(0.0)
    }

    /// The calendar in steps.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Number of the newest step.
    pub fn step(&self) -> i64 {
        self.end - 1
    }

    /// Steps since it began.
    pub fn age(&self) -> usize {
        self.age
    }

    /// Whether the newest step has a value of its own.
    pub fn is_known(&self) -> bool {
        self.age > 0 && self.unknown == 0
    }

    /// The newest.
    pub fn now(&self) -> f32 {
        self.values.last().copied().unwrap_or(0.0)
    }

    /// The one so many steps before the newest, if it is still here.
    pub fn back(&self, steps: usize) -> Option<f32> {
        let nth = self.values.len().checked_sub(steps + 1)?;
        Some(self.values[nth])
    }

    /// The newest so many, oldest first; fewer when it is younger.
    pub fn recent(&self, steps: usize) -> &[f32] {
        &self.values[self.values.len().saturating_sub(steps)..]
    }
}

/// More than any load: it keeps what follows finite.
pub(crate) const MOST: f64 = 1e18;

/// Steps before and after the epoch, thirty million years of seconds: it keeps sums of steps from overflowing.
const FARTHEST: u64 = 1 << 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Calendar;

    fn history(day: u32) -> History {
        let calendar = Calendar {
            day_s: day,
            week_s: 7 * day,
        };
        History::new(calendar.clock(1))
    }

    #[test]
    fn gaps_move_as_yesterday_did() {
        let mut past = history(4);
        for (step, value) in [9.0, 19.0, 9.0, 9.0, 9.0].into_iter().enumerate() {
            past.push(step as i64, value);
        }
        past.push(5, f64::NAN);
        assert!((past.now() - 20.0_f32.ln()).abs() < 1e-6);
        assert!(!past.is_known());
        past.push(8, 3.0);
        assert_eq!((past.step(), past.age(), past.is_known()), (8, 9, true));
        past.push(7, 100.0);
        assert_eq!(past.back(0), Some(4.0_f32.ln()));
    }

    #[test]
    fn what_is_no_number_is_a_gap() {
        let mut past = history(4);
        past.push(0, f64::INFINITY);
        assert_eq!(past.age(), 0, "it begins with a value");
        past.push(1, 1e300);
        past.push(2, -5.0);
        assert!(past.now().is_finite());
    }

    #[test]
    fn a_long_gap_begins_anew_and_memory_is_bounded() {
        let mut past = history(4);
        (0..1000).for_each(|step| _ = past.push(step, 1.0));
        assert_eq!(past.age(), 1000);
        assert!(past.values.len() <= 2 * (28 + MARGIN));
        past.push(2000, 5.0);
        assert_eq!((past.age(), past.step()), (1, 2000));
    }

    #[test]
    fn steps_beyond_any_calendar_are_not_taken() {
        let mut past = history(4);
        assert!(!past.push(i64::MIN, 1.0) && !past.push(i64::MAX, 1.0) && past.age() == 0);
        assert!(past.push(-(1 << 50), 1.0) && past.push(5, 2.0));
        assert!(!past.push(i64::MIN, 1.0) && !past.push(i64::MAX, 1.0));
        assert_eq!((past.age(), past.step()), (1, 5));
    }
}
