//! Sans-IO: when a viewer whose connection broke asks again, and which edges it asks not to be sent to: as the page's
//! player does (web/src/dial.js). Times count from the viewer's start.

use std::time::Duration;

/// What a viewer remembers of what failed.
#[derive(Debug, Default)]
pub struct Again {
    /// Edges, and until when they are left alone.
    avoided: Vec<(String, Duration)>,
    failures: usize,
    /// When the last connection was made.
    connected: Option<Duration>,
}

impl Again {
    /// It plays.
    pub fn connected(&mut self, now: Duration) {
        self.connected = Some(now);
    }

    /// The edge, where it is known, failed: how long to wait; `random` is from 0 to 1.
    pub fn failed(&mut self, edge: &str, now: Duration, random: f64) -> Duration {
        if !edge.is_empty() {
            self.avoided.retain(|(known, _)| known != edge);
            self.avoided.push((edge.to_owned(), now + AVOID));
        }
        let since = self.connected.take();
        if since.is_some_and(|since| now.saturating_sub(since) >= STEADY) {
            self.failures = 0;
        }
        let step = BACKOFF_MS[self.failures.min(BACKOFF_MS.len() - 1)];
        self.failures += 1;
        Duration::from_millis(step).mul_f64(0.5 + random)
    }

    /// What a question says of edges to be left out; empty when there are none.
    pub fn query(&mut self, now: Duration) -> String {
        self.avoided.retain(|(_, until)| now < *until);
        let ids: Vec<&str> = self.avoided.iter().map(|(id, _)| id.as_str()).collect();
        match ids.is_empty() {
            true => String::new(),
            false => format!("exclude={}", ids.join(",")),
        }
    }
}

/// The first is hardly seen; later ones spare the scheduler.
const BACKOFF_MS: [u64; 5] = [200, 500, 1000, 2000, 5000];
/// By then the scheduler knows by itself whether the edge is well.
const AVOID: Duration = Duration::from_secs(30);
/// A connection that lasted so long was well: what fails next begins a new count.
const STEADY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_waits_longer_and_edges_are_avoided_for_a_while() {
        let mut again = Again::default();
        let at = Duration::from_secs;
        assert_eq!(again.query(at(0)), "");
        let waits = [0.0, 1.0, 0.5].map(|random| again.failed("", at(0), random));
        assert_eq!(waits.map(|wait| wait.as_millis()), [100, 750, 1000]);
        again.connected(at(1));
        assert_eq!(again.failed("a", at(7), 0.5).as_millis(), 200);
        again.connected(at(8));
        assert_eq!(again.failed("b", at(9), 0.5).as_millis(), 500);
        assert_eq!(again.query(at(36)), "exclude=a,b");
        assert_eq!(again.query(at(37)), "exclude=b");
    }
}
