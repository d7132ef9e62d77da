//! Sans-IO: the `[time]` table: how long the slots, days and weeks of plans and forecasts are.
//!
//! `scale` makes all of them shorter at once, so that a test lives through days. Accessors that
//! give a [`Duration`] give real time, already scaled. **Calendar time** is Unix time multiplied by
//! the scale: in it a day has its 86,400 seconds whatever the scale is, and histories and models
//! count in it. Heartbeats, deadlines and expiries are not calendar time and never scaled.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config;

/// `[time]`: the calendar of planning, billing and forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// How much faster than real time the calendar runs: every length below is divided by it.
    /// 288 makes a day of five minutes, for demonstrations and tests; leave 1 in production.
    scale: f64,
    /// How often a plan is made.
    control_slot: config::Duration,
    /// Over what traffic is averaged for the bill; whole control slots.
    billing_slot: config::Duration,
    /// What one bill is for; whole billing slots.
    billing_period: config::Duration,
    /// After what viewers' habits repeat; whole billing slots and history steps.
    day: config::Duration,
    /// After what they repeat with all their days; whole days.
    week: config::Duration,
    /// Over what the history averages; at least one second after scaling, as samples come each
    /// second.
    history_step: config::Duration,
}

/// Why a calendar makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not a factor.
    #[error("[time] scale must be from 1 to {MAX_SCALE}, for example 288")]
    Scale,
    /// Not whole seconds, or none.
    #[error("[time] {0} must be whole seconds, at least one")]
    Seconds(&'static str),
    /// Too long for the arithmetic, and for anything else.
    #[error("[time] {0} must be at most 400d")]
    Long(&'static str),
    /// One length does not fit into another.
    #[error("[time] {long} must be a multiple of {short}")]
    Multiple {
        /// The longer one's name.
        long: &'static str,
        /// The shorter one's name.
        short: &'static str,
    },
    /// Samples come less often than the history would need.
    #[error(
        "[time] history_step = \"{step}\" at scale {scale} is shorter than a second, \
         and samples come each second: say history_step = \"{say}\""
    )]
    Step {
        /// The configured step.
        step: config::Duration,
        /// The configured scale.
        scale: f64,
        /// One that works.
        say: config::Duration,
    },
}

impl Default for Time {
    fn default() -> Self {
        let minutes = |n: u64| config::Duration::from_secs(n * 60);
        Self {
            scale: 1.0,
            control_slot: config::Duration::from_secs(30),
            billing_slot: minutes(5),
            billing_period: minutes(30 * 24 * 60),
            day: minutes(24 * 60),
            week: minutes(7 * 24 * 60),
            history_step: minutes(1),
        }
    }
}

impl Time {
    /// The default calendar, so much faster, with that history step (calendar time).
    pub fn scaled(scale: f64, history_step: Duration) -> Result<Self, Error> {
        let time = Self {
            scale,
            history_step: history_step.into(),
            ..Self::default()
        };
        time.check().map(|()| time)
    }

    /// Whether the lengths make sense together.
    pub fn check(&self) -> Result<(), Error> {
        if !(1.0..=MAX_SCALE).contains(&self.scale) {
            return Err(Error::Scale);
        }
        for (name, length) in self.lengths() {
            let length = length.get();
            if length.is_zero() || length.subsec_nanos() > 0 {
                return Err(Error::Seconds(name));
            }
            if length > LONGEST {
                return Err(Error::Long(name));
            }
        }
        for (long, short) in MULTIPLES {
            let seconds = |name| {
                let found = self.lengths().into_iter().find(|(known, _)| *known == name);
                found.map_or(1, |(_, length)| length.get().as_secs())
            };
            if !seconds(long).is_multiple_of(seconds(short)) {
                return Err(Error::Multiple { long, short });
            }
        }
        self.check_step()
    }

    fn check_step(&self) -> Result<(), Error> {
        let day = self.day.get().as_secs();
        let fits = |step: &u64| *step as f64 >= self.scale && day.is_multiple_of(*step);
        if fits(&self.history_step.get().as_secs()) {
            return Ok(());
        }
        let minutes = (60..=day).step_by(60).find(fits);
        Err(Error::Step {
            step: self.history_step,
            scale: self.scale,
            say: config::Duration::from_secs(minutes.unwrap_or(day)),
        })
    }

    fn lengths(&self) -> [(&'static str, config::Duration); 6] {
        [
            ("control_slot", self.control_slot),
            ("billing_slot", self.billing_slot),
            ("billing_period", self.billing_period),
            ("day", self.day),
            ("week", self.week),
            ("history_step", self.history_step),
        ]
    }

    /// How much faster than real time the calendar runs.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Real time from one plan to the next.
    pub fn control_slot(&self) -> Duration {
        self.real(self.control_slot)
    }

    /// Real time over which traffic is averaged for the bill.
    pub fn billing_slot(&self) -> Duration {
        self.real(self.billing_slot)
    }

    /// Real time that one bill is for.
    pub fn billing_period(&self) -> Duration {
        self.real(self.billing_period)
    }

    /// Real time that a day takes.
    pub fn day(&self) -> Duration {
        self.real(self.day)
    }

    /// Real time that a week takes.
    pub fn week(&self) -> Duration {
        self.real(self.week)
    }

    /// Real time over which the history averages.
    pub fn history_step(&self) -> Duration {
        self.real(self.history_step)
    }

    /// A history step in calendar seconds: [`Time::step_at`] counts in these.
    pub fn step_s(&self) -> u32 {
        seconds(self.history_step)
    }

    /// A day in calendar seconds.
    pub fn day_s(&self) -> u32 {
        seconds(self.day)
    }

    /// A week in calendar seconds.
    pub fn week_s(&self) -> u32 {
        seconds(self.week)
    }

    /// A billing period in calendar seconds.
    pub fn billing_period_s(&self) -> i64 {
        seconds(self.billing_period).into()
    }

    /// A billing slot in calendar seconds.
    pub fn billing_slot_s(&self) -> u32 {
        seconds(self.billing_slot)
    }

    /// Calendar seconds at a Unix time.
    pub fn calendar_s(&self, unix_ms: u64) -> i64 {
        (u128::from(unix_ms) * self.milli() / 1_000_000) as i64
    }

    /// The first Unix millisecond of a calendar second.
    pub fn unix_ms(&self, calendar_s: i64) -> u64 {
        let seconds = u128::from(calendar_s.max(0).unsigned_abs());
        (seconds * 1_000_000).div_ceil(self.milli()) as u64
    }

    /// The number of the history step that a Unix time is in.
    pub fn step_at(&self, unix_ms: u64) -> i64 {
        self.calendar_s(unix_ms).div_euclid(self.step_s().into())
    }

    /// The first Unix millisecond of a history step.
    pub fn step_begins_ms(&self, step: i64) -> u64 {
        self.unix_ms(step.saturating_mul(self.step_s().into()))
    }

    fn real(&self, length: config::Duration) -> Duration {
        length.get().div_f64(self.scale)
    }

    /// The scale in thousandths, so that steps are counted in whole numbers.
    fn milli(&self) -> u128 {
        ((self.scale * 1000.0).round() as u128).max(1)
    }
}

fn seconds(length: config::Duration) -> u32 {
    u32::try_from(length.get().as_secs()).unwrap_or(u32::MAX)
}

const MULTIPLES: [(&str, &str); 5] = [
    ("billing_slot", "control_slot"),
    ("billing_period", "billing_slot"),
    ("day", "billing_slot"),
    ("week", "day"),
    ("day", "history_step"),
];

/// A day in a second.
const MAX_SCALE: f64 = 86_400.0;

/// More than a year of billing, and its milliseconds times the scale fit any arithmetic here.
const LONGEST: Duration = Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Time, String> {
        let time: Time = toml::from_str(text).map_err(|error| error.to_string())?;
        time.check()
            .map(|()| time)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_is_real_time() {
        let time = read("").unwrap();
        assert_eq!(time.day(), Duration::from_secs(86_400));
        assert_eq!(time.control_slot(), Duration::from_secs(30));
        assert_eq!(time.billing_period(), Duration::from_secs(30 * 86_400));
        assert_eq!(time.calendar_s(1_800_000_000_999), 1_800_000_000);
        assert_eq!(time.step_at(1_800_000_000_000), 30_000_000);
    }

    #[test]
    fn a_scale_divides_every_length() {
        let time = read("scale = 288\nhistory_step = \"5m\"").unwrap();
        assert_eq!(time.day(), Duration::from_secs(300));
        assert_eq!(time.week(), Duration::from_secs(2_100));
        assert_eq!(time.billing_slot(), time.history_step());
        assert_eq!((time.step_s(), time.day_s()), (300, 86_400));
        assert_eq!(time.week_s(), 7 * time.day_s());
        assert_eq!(time.billing_slot_s(), 300);
        let millis = [time.billing_slot(), time.control_slot()].map(|it| it.as_millis());
        assert_eq!(millis, [1041, 104]);
        assert_eq!(time.calendar_s(1_000_000), 288_000);
        assert_eq!(time, Time::scaled(288.0, Duration::from_secs(300)).unwrap());
    }

    #[test]
    fn a_calendar_that_makes_no_sense_is_explained() {
        for (text, said) in [
            ("scale = 288", "say history_step = \"5m\""),
            ("scale = 1440", "say history_step = \"24m\""),
            ("scale = 0.5", "scale must be"),
            ("scale = nan", "scale must be"),
            ("scale = 1e9", "scale must be"),
            ("day = \"1500ms\"", "day must be whole seconds"),
            ("week = \"0s\"", "week must be whole seconds"),
            ("billing_period = \"4000d\"", "at most 400d"),
            (
                "billing_slot = \"40s\"",
                "billing_slot must be a multiple of control_slot",
            ),
            ("week = \"36h\"", "week must be a multiple of day"),
            (
                "history_step = \"7m\"",
                "day must be a multiple of history_step",
            ),
            ("hours = 1", "unknown field"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_step_begins_where_it_is_counted(
            scale in 1_u32..2_000,
            minutes in prop::sample::select(vec![36_u64, 60, 120, 240]),
            unix_ms in 0_u64..4_000_000_000_000,
        ) {
            let step = Duration::from_secs(minutes * 60);
            let time = Time::scaled(f64::from(scale), step).unwrap();
            let step = time.step_at(unix_ms);
            let begins = time.step_begins_ms(step);
            prop_assert!(begins <= unix_ms && unix_ms < time.step_begins_ms(step + 1));
            prop_assert_eq!(time.step_at(begins), step);
            prop_assert!(begins == 0 || time.step_at(begins - 1) == step - 1);
        }
    }
}
