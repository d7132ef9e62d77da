//! The controller alone, over a path that answers as told; over a network: `driver/tests`.

use proptest::prelude::*;
use quinn::congestion::Controller as _;

use super::*;

const MTU: u16 = 1452;
const TICK: Duration = Duration::from_millis(1);

/// A controller and the time it lives in.
struct Bench {
    controller: Controller,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let controller = Controller::new(now, MTU);
        Self { controller, now }
    }

    /// A path delivers so many bytes per second, all sent `rtt_ms` before, with so much under way.
    fn deliver(&mut self, ticks: u32, rate: u64, rtt_ms: u64, in_flight: u64) {
        for _ in 0..ticks {
            self.now += TICK;
            let sent = self.now - Duration::from_millis(rtt_ms);
            self.controller.acked(self.now, sent, rate / 1000);
            self.controller.end_batch(self.now, in_flight as f64, false);
        }
    }

    /// A bulk transfer: the window is always under way.
    fn fill(&mut self, ticks: u32, rate: u64, rtt_ms: u64) {
        for _ in 0..ticks {
            self.deliver(1, rate, rtt_ms, self.controller.window());
        }
    }
}

#[test]
fn the_window_is_what_the_path_holds_and_a_fifth_more() {
    for (rate, rtt_ms) in [(2_500_000, 50), (12_500_000, 80), (1_250_000, 200)] {
        let mut bench = Bench::new();
        bench.fill(500, rate, rtt_ms);
        bench.fill(500, rate, rtt_ms + rtt_ms / 5);
        let content = (rate * rtt_ms / 1000) as f64;
        let window = bench.controller.window() as f64;
        assert!(
            (1.15..1.3).contains(&(window / content)),
            "{rate} B/s, {rtt_ms} ms: {window}"
        );
    }
}

#[test]
fn a_quiet_application_keeps_what_was_learned() {
    let mut bench = Bench::new();
    bench.fill(500, 12_500_000, 50);
    bench.fill(500, 12_500_000, 60);
    let window = bench.controller.window();
    bench.deliver(60_000, 100_000, 50, 5_000);
    assert!(bench.controller.window() >= window);
}

#[test]
fn loss_without_a_queue_changes_nothing() {
    let mut bench = Bench::new();
    bench.fill(2_000, 12_500_000, 50);
    let window = bench.controller.window();
    for _ in 0..100 {
        bench.controller.lost(bench.now, false, 10 * u64::from(MTU));
        bench.fill(50, 12_500_000, 50);
    }
    assert!(bench.controller.window() >= window);
}

#[test]
fn loss_with_a_long_queue_forgets_the_faster_path() {
    let mut bench = Bench::new();
    bench.fill(500, 12_500_000, 50);
    bench.fill(500, 12_500_000, 60);
    let before = bench.controller.window();
    bench.fill(100, 1_250_000, 90);
    bench.controller.lost(bench.now, false, MTU.into());
    bench.fill(200, 1_250_000, 90);
    assert!(bench.controller.window() < before / 4);
}

#[test]
fn persistent_congestion_starts_anew_and_small() {
    let mut bench = Bench::new();
    bench.fill(2_000, 12_500_000, 50);
    bench.controller.lost(bench.now, true, 100_000);
    assert_eq!(bench.controller.window(), MIN_WINDOW as u64);
    bench.fill(600, 12_500_000, 50);
    assert!(bench.controller.window() > 600_000);
}

#[test]
fn a_queue_that_does_not_drain_belongs_to_a_rival() {
    let mut bench = Bench::new();
    bench.fill(500, 2_500_000, 50);
    bench.fill(500, 2_500_000, 60);
    let alone = bench.controller.window();
    bench.fill(8_000, 2_500_000, 90);
    let beside = bench.controller.window();
    assert!(beside > alone * 5 / 4, "{beside} beside a rival");
    bench.fill(8_000, 2_500_000, 50);
    assert!(bench.controller.window() < alone * 5 / 4, "alone again");
}

/// What can happen: acknowledgements, losses, marks, time.
fn event() -> impl Strategy<Value = (u8, u64, u64, u64)> {
    (0..8_u8, 0..2_000_u64, 0..1_u64 << 32, 0..1_u64 << 40)
}

proptest! {
    #[test]
    fn the_window_stays_within_its_bounds(events in prop::collection::vec(event(), 1..400)) {
        let mut bench = Bench::new();
        for (what, ms, bytes, in_flight) in events {
            let (now, span) = (bench.now, Duration::from_millis(ms));
            match what {
                0 => bench.now += span,
                1 => bench.controller.lost(now, ms == 0, bytes),
                2 => bench.controller.on_mtu_update(1200 + ms as u16),
                3 => bench.controller.end_batch(now, in_flight as f64, ms % 2 == 0),
                _ => {
                    bench.controller.acked(now, now.checked_sub(span).unwrap_or(now), bytes);
                    bench.controller.end_batch(now, in_flight as f64, ms % 2 == 0);
                }
            }
            let window = bench.controller.window();
            prop_assert!((MIN_WINDOW as u64..=MAX_WINDOW as u64).contains(&window));
        }
    }
}
