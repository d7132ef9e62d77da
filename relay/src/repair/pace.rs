//! Sans-IO: how much parity a connection sends: as much as the measured loss makes worth while.

use std::time::{Duration, Instant};

use super::MAX_PARITY;

/// What a connection has lost lately, and the parity it may send for that.
#[derive(Debug, Default)]
pub struct Pace {
    /// When it was last measured, and the packets sent and lost until then.
    last: Option<(Instant, u64, u64)>,
    /// Packets of the last seconds, the older the less they count.
    sent: f64,
    lost: f64,
    /// Measurements, and the squares of what was lost between them, counted likewise.
    times: f64,
    squares: f64,
    /// Bytes of parity that may be sent.
    credit: f64,
    /// Bytes handed over to be sent that are not on the line yet, and those that ever were.
    backlog: u64,
    transmitted: u64,
}

/// How often the path is measured: more often than frames come, so that what is lost of one counts
/// as lost at a time.
const EVERY: Duration = Duration::from_millis(20);

/// How long a packet counts: loss of one per cent is some twenty packets of a small stream's then.
const MEMORY: Duration = Duration::from_secs(5);

/// Packets that are taken to have arrived before the first: one early loss is not ten per cent.
const TRUST: f64 = 100.0;

/// Below this loss a retransmission now and then costs less than parity all the time.
const FLOOR: f64 = 0.001;

/// Where little is lost, the share of a stream's bytes that goes into parity is at most this many
/// times the loss.
const SLOPE: f64 = 12.0;

/// What parity and retransmissions take together up to [`MUCH`], so that with probes and heads it
/// stays below a tenth: at 1 %, with frames of a dozen packets, a row for nearly each.
const SHARE: f64 = 0.08;

/// Loss beyond which nothing but parity keeps most frames in time, whatever it costs.
const MUCH: f64 = 0.03;

/// What the share grows by for what is lost beyond: at 5 % a row and a half for each frame.
const GROWTH: f64 = 2.5;

/// A path that loses more needs another path.
const MAX_SHARE: f64 = 0.2;

/// Packets lost in a row from which losses are bursts: at random it is hardly more than 1.
const BURST: f64 = 2.2;

/// Probes behind a frame.
const MAX_PROBES: usize = 12;

/// Credit that can be saved up: parity of one large key frame.
const MAX_CREDIT: f64 = 24_000.0;

/// What losses may take in advance: a second's parity of a small stream.
const MAX_DEBT: f64 = 12_000.0;

impl Pace {
    /// Whether it is time to [`measure`](Self::measure) again.
    pub fn is_due(&self, now: Instant) -> bool {
        self.last.is_none_or(|(at, ..)| now >= at + EVERY)
    }

    /// Takes the packets that were sent and lost since the connection began.
    pub fn measure(&mut self, now: Instant, sent: u64, lost: u64) {
        let last = self.last.replace((now, sent, lost));
        let (at, sent_before, lost_before) = last.unwrap_or((now, 0, 0));
        let fading = (-(now - at).as_secs_f64() / MEMORY.as_secs_f64()).exp();
        let (sent, lost) = (
            sent.saturating_sub(sent_before),
            lost.saturating_sub(lost_before),
        );
        self.sent = self.sent * fading + sent as f64;
        self.lost = self.lost * fading + lost as f64;
        self.squares = self.squares * fading + (lost * lost) as f64;
        self.times = self.times * fading + 1.0;
    }

    /// The share of packets that is lost.
    pub fn loss(&self) -> f64 {
        self.lost / (self.sent + TRUST)
    }

    /// Whether parity is worth sending.
    pub fn is_lossy(&self) -> bool {
        self.loss() >= FLOOR
    }

    /// This many bytes are to be sent.
    pub fn hand(&mut self, bytes: usize) {
        self.backlog += bytes as u64;
    }

    /// So many bytes of packets were sent since the connection began: a little more than what was
    /// handed over, so that an error does not grow.
    pub fn transmitted(&mut self, bytes: u64) {
        let fresh = bytes.saturating_sub(self.transmitted);
        self.transmitted = bytes;
        self.backlog = self.backlog.saturating_sub(fresh);
    }

    /// Whether all that was handed over is on the line. Where it is not, the link is full, and parity
    /// would only take the place of frames.
    pub fn is_clear(&self) -> bool {
        self.backlog == 0
    }

    /// A stream that is covered sends this many bytes.
    pub fn earn(&mut self, bytes: usize) {
        if self.is_lossy() {
            let loss = self.loss();
            let share = SHARE - loss.min(MUCH) + GROWTH * (loss - MUCH).max(0.0);
            let share = share.min(SLOPE * loss).min(MAX_SHARE);
            self.credit = (self.credit + share * bytes as f64).min(MAX_CREDIT);
        }
    }

    /// How many parity rows a block of `rows` gets ahead of any loss, each for `cost` bytes; they
    /// are paid for. None where losses come in bursts, which a row or two do not repair: there the
    /// credit waits for losses that are known.
    pub fn spend(&mut self, rows: usize, cost: usize) -> usize {
        if !self.is_lossy() || self.is_bursty() {
            return 0;
        }
        let affordable = (self.credit / cost as f64).max(0.0) as usize;
        self.grant(self.wish(rows).min(affordable), cost)
    }

    /// Grants rows that losses call for; what credit does not pay for later parity does.
    pub fn overspend(&mut self, rows: usize, cost: usize) -> usize {
        let affordable = ((self.credit + MAX_DEBT) / cost as f64).max(0.0) as usize;
        self.grant(rows.min(affordable), cost)
    }

    /// How many probes follow a frame: where a burst takes its last packets, enough that one comes
    /// after the burst.
    pub fn probes(&self) -> usize {
        if self.is_bursty() {
            ((2.0 * self.at_a_time()).round() as usize).min(MAX_PROBES)
        } else {
            1
        }
    }

    fn grant(&mut self, rows: usize, cost: usize) -> usize {
        self.credit -= (rows * cost) as f64;
        rows
    }

    /// Whether several packets are lost at a time.
    pub fn is_bursty(&self) -> bool {
        self.at_a_time() >= BURST
    }

    /// How many packets are lost in a row. Losses at random scatter as much as they are many;
    /// bursts of length `n`, whose lengths scatter as well, `2n - 1` times as much.
    fn at_a_time(&self) -> f64 {
        let mean = self.lost / self.times.max(1.0);
        let variance = self.squares / self.times.max(1.0) - mean * mean;
        if mean > 0.0 {
            (variance / mean + 1.0) / 2.0
        } else {
            1.0
        }
    }

    /// As many as the rows that a block loses, and twice the deviation of that.
    fn wish(&self, rows: usize) -> usize {
        let lost = rows as f64 * self.loss();
        ((lost + 2.0 * lost.sqrt()).round() as usize).clamp(1, MAX_PARITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path on which every so many of the frames, of 14 packets each 40 ms, lose some packets.
    fn paced(frames: u64, every: u64, lost_each: u64) -> Pace {
        let start = Instant::now();
        let mut pace = Pace::default();
        for frame in 0..frames {
            let lost = frame / every.max(1) * lost_each;
            let now = start + Duration::from_millis(40) * frame as u32;
            assert!(pace.is_due(now));
            pace.measure(now, frame * 14, lost);
        }
        pace
    }

    /// What a stream of 20 kB frames is granted ahead of loss, as a share of its bytes.
    fn share(pace: &mut Pace) -> f64 {
        let mut granted = 0;
        for _ in 0..1000 {
            pace.earn(20_000);
            granted += pace.spend(14, 1500) * 1500;
        }
        granted as f64 / 20e6
    }

    #[test]
    fn parity_follows_the_measured_loss() {
        // Loss at random in per cent is 100 / 14 / every.
        let rows = [
            (0, 1000, 0, 0.0..=0.0),
            (250, 1000, 0, 0.0..=0.0),
            (250, 24, 1, 0.02..=0.04),
            (250, 7, 1, 0.06..=0.075),
            (250, 2, 1, 0.05..=0.07),
            (250, 1, 1, 0.10..=0.16),
        ];
        for (frames, every, lost, expected) in rows {
            let mut pace = paced(frames, every, lost);
            let share = share(&mut pace);
            assert!(
                expected.contains(&share),
                "one in {every}: {share}, {}",
                pace.loss()
            );
        }
    }

    #[test]
    fn bursts_get_probes_ahead_and_parity_afterwards() {
        let mut pace = paced(250, 10, 5);
        assert_eq!(share(&mut pace), 0.0);
        assert_eq!(pace.probes(), 6);
        assert_eq!(pace.overspend(3, 1500), 3);
        assert_eq!(paced(250, 2, 1).probes(), 1);
        assert_eq!(paced(250, 1, 5).probes(), 1, "many, but each time as many");
    }

    #[test]
    fn a_link_is_clear_once_everything_left() {
        let mut pace = Pace::default();
        pace.transmitted(5000);
        assert!(pace.is_clear());
        pace.hand(20_000);
        pace.transmitted(20_000);
        assert!(!pace.is_clear());
        pace.transmitted(26_000);
        assert!(pace.is_clear());
        pace.hand(1);
        assert!(!pace.is_clear(), "what was sent before does not count");
    }

    #[test]
    fn known_losses_take_no_more_than_the_debt() {
        let mut pace = paced(250, 10, 5);
        let granted: usize = (0..100).map(|_| pace.overspend(4, 1500)).sum();
        assert_eq!(granted as f64, (MAX_DEBT / 1500.0).floor());
    }

    #[test]
    fn what_was_lost_long_ago_is_forgotten() {
        let mut pace = paced(250, 2, 1);
        assert!(pace.is_lossy());
        let (at, sent, lost) = pace.last.unwrap();
        pace.measure(at + Duration::from_secs(30), sent + 10_000, lost);
        assert!(!pace.is_lossy());
    }
}
