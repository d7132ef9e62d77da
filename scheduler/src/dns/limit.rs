//! Sans-IO: how many answers a network gets by UDP, where anybody can write any sender.
//!
//! A fixed table of token buckets, found by a seeded hash of the network; networks that share one
//! share its rate. Of what is too much every second one is answered with so little that nothing is
//! gained by it, and a resolver that really asked comes again by TCP.

use std::net::IpAddr;

use crate::snapshot::{hash, mix};

/// What a query is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it asks.
    Answer,
    /// To ask by TCP.
    Truncate,
    /// Nothing.
    Drop,
}

/// The rates of all networks.
#[derive(Debug)]
pub struct Limit {
    buckets: Box<[Bucket]>,
    per_s: f32,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f32,
    at_ms: u64,
    slipped: bool,
}

impl Limit {
    /// So many answers a second to each network; `seed` keeps others from choosing whom they share
    /// a bucket with.
    pub fn new(per_s: u32, seed: u64) -> Self {
        let per_s = per_s as f32;
        let bucket = Bucket {
            tokens: per_s,
            at_ms: 0,
            slipped: false,
        };
        Self {
            buckets: vec![bucket; BUCKETS].into_boxed_slice(),
            per_s,
            seed,
        }
    }

    /// What the next query of that address gets; `now_ms` is monotonic.
    pub fn check(&mut self, now_ms: u64, peer: IpAddr) -> Verdict {
        let network = match peer {
            IpAddr::V4(v4) => hash(&v4.octets()[..3]),
            IpAddr::V6(v6) => hash(&v6.octets()[..7]),
        };
        let at = mix(network ^ self.seed) as usize % BUCKETS;
        let bucket = &mut self.buckets[at];
        let past_s = now_ms.saturating_sub(bucket.at_ms) as f32 / 1_000.0;
        bucket.tokens = (bucket.tokens + past_s * self.per_s).min(self.per_s);
        bucket.at_ms = now_ms.max(bucket.at_ms);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Verdict::Answer;
        }
        bucket.slipped = !bucket.slipped;
        if bucket.slipped {
            Verdict::Truncate
        } else {
            Verdict::Drop
        }
    }
}

/// 24 bytes each: more networks than ask a scheduler in a second.
const BUCKETS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_gets_its_rate_and_the_rest_little() {
        let mut limit = Limit::new(10, 7);
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut count = |now_ms, text: &str| {
            let mut said = [0; 3];
            (0..30).for_each(|_| said[limit.check(now_ms, peer(text)) as usize] += 1);
            said
        };
        assert_eq!(count(1_000, "192.0.2.1"), [10, 10, 10]);
        assert_eq!(count(1_000, "192.0.2.200"), [0, 15, 15], "the same network");
        assert_eq!(count(1_000, "198.51.100.1"), [10, 10, 10]);
        assert_eq!(count(1_500, "192.0.2.1"), [5, 13, 12]);
        assert_eq!(
            count(60_000, "192.0.2.1"),
            [10, 10, 10],
            "no more than a second's"
        );
        assert_eq!(count(60_000, "2001:db8::1"), [10, 10, 10]);
        assert_eq!(count(60_000, "2001:db8:0:1::1"), [0, 15, 15]);
        assert_eq!(
            count(0, "2001:db8::1"),
            [0, 15, 15],
            "a clock that steps back"
        );
    }
}
