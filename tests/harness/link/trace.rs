//! Sans-IO: a last mile second by second: its rate, and its round trip and loss where they are known.
//!
//! A trace has an entry for each second and begins anew after the last one.
//! Not every second is 0 bit/s: else a packet would never come through.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub id: String,
    seconds: Vec<Second>,
}

/// What a link is like during one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    pub rate_bps: u64,
    pub rtt: Option<Duration>,
    /// The share of packets that are lost, 0 to 1.
    pub loss: Option<f32>,
}

impl Trace {
    /// `None` if the trace is empty or carries nothing at all.
    pub fn new(id: &str, seconds: Vec<Second>) -> Option<Self> {
        seconds
            .iter()
            .any(|second| second.rate_bps > 0)
            .then(|| Self {
                id: id.into(),
                seconds,
            })
    }

    /// The traces of a table `trace_id,t_s,kbps,rtt_ms,loss_pct`, whose last two columns may be empty.
    ///
    /// A second without a line is like the one before it; lines that cannot be read are passed over.
    pub fn table(text: &str) -> Vec<Self> {
        let mut traces: Vec<(&str, Vec<Second>)> = Vec::new();
        for (id, at, second) in text.lines().filter_map(line) {
            if traces.last().is_none_or(|(last, _)| *last != id) {
                traces.push((id, Vec::new()));
            }
            let (_, seconds) = traces.last_mut().expect("one was pushed");
            let Some(missing) = at.checked_sub(seconds.len()) else {
                continue;
            };
            let held = seconds.last().copied().unwrap_or(second);
            seconds.resize(seconds.len() + missing.min(LONGEST_GAP), held);
            seconds.push(second);
        }
        traces
            .into_iter()
            .filter_map(|(id, seconds)| Self::new(id, seconds))
            .collect()
    }

    /// A made-up trace: the rate wanders around `mean_bps`, and now and then is gone for some seconds.
    pub fn made(seed: u64, mean_bps: u64, seconds: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut wander, mut outage) = (0.0_f64, 0);
        let second = |_| {
            // A first-order autoregression of the logarithm: like the second before, and skewed.
            wander = 0.9 * wander + rng.random_range(-0.4..0.4);
            if outage == 0 && rng.random_bool(OUTAGE) {
                outage = rng.random_range(1..=LONGEST_OUTAGE);
            } else {
                outage = outage.saturating_sub(1);
            }
            let open = if outage == 0 { wander.exp() } else { 0.0 };
            Second {
                rate_bps: (mean_bps as f64 * open) as u64,
                ..Second::default()
            }
        };
        let mut made: Vec<_> = (0..seconds).map(second).collect();
        // Whatever was drawn, the trace carries something.
        made.push(Second {
            rate_bps: mean_bps.max(1),
            ..Second::default()
        });
        Self::new(&format!("made-{seed}"), made).expect("its last second is open")
    }

    pub fn mean_bps(&self) -> u64 {
        self.seconds
            .iter()
            .map(|second| second.rate_bps)
            .sum::<u64>()
            / self.seconds.len() as u64
    }

    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Round trip and loss, where they are known.
    pub fn travel_at(&self, time: Duration) -> (Option<Duration>, Option<f32>) {
        let second = self.at(time);
        (second.rtt, second.loss)
    }

    fn at(&self, time: Duration) -> Second {
        self.seconds[time.as_secs() as usize % self.seconds.len()]
    }

    /// When a packet is through whose first bit goes out at `start`.
    pub fn finish(&self, start: Duration, bytes: usize) -> Duration {
        let (mut at, mut bits) = (start, bytes as f64 * 8.0);
        // Ends: some second of each round carries at least 1 bit, and a packet has a bounded number.
        loop {
            let rate = self.at(at).rate_bps as f64;
            let next = Duration::from_secs(at.as_secs() + 1);
            let room = rate * (next - at).as_secs_f64();
            if bits <= room {
                return at + Duration::from_secs_f64(bits / rate);
            }
            bits -= room;
            at = next;
        }
    }
}

/// `trace_id,t_s,kbps,rtt_ms,loss_pct`.
fn line(text: &str) -> Option<(&str, usize, Second)> {
    let mut fields = text.split(',').map(str::trim);
    let id = fields.next()?;
    let at: f64 = fields.next()?.parse().ok()?;
    let kbps: f64 = fields.next()?.parse().ok()?;
    let mut number = || fields.next()?.parse::<f64>().ok().filter(|n| *n >= 0.0);
    let second = Second {
        rate_bps: (kbps * 1000.0) as u64,
        rtt: number().map(|ms| Duration::from_secs_f64(ms.min(MAX_RTT_MS) / 1000.0)),
        loss: number().map(|percent| (percent / 100.0).min(1.0) as f32),
    };
    Some((id, at as usize, second))
}

/// Longer silences of a recorder are cut short: nobody measured what the link was like then.
const LONGEST_GAP: usize = 60;
/// Tens of seconds of round trip are a recorder's fault, not a link's.
const MAX_RTT_MS: f64 = 10_000.0;
/// Chance that an outage begins in a made-up second, and its longest: as on the recorded 3G and 4G traces,
/// about one second in thirty carries nothing.
const OUTAGE: f64 = 0.01;
const LONGEST_OUTAGE: u32 = 5;
