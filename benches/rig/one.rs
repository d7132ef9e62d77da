//! What the relay's benchmarks serve: one track under any name, of groups that nobody looks into.

use std::sync::Arc;

use media::{codec::Catalog, timestamp::Timestamp};
use relay::{driver, group, track, wire};
use tokio::sync::watch;

/// Serves its track to whoever asks for a stream.
pub struct One {
    pub track: track::Consumer,
    pub none: watch::Receiver<Arc<Vec<driver::Announced>>>,
}

impl driver::Source for One {
    fn subscribe<'a>(
        &'a self,
        _: &'a str,
        _: &'a [String],
        _: wire::Start,
    ) -> driver::Boxed<'a, Result<driver::Served, wire::Refusal>> {
        let track = self.track.clone();
        Box::pin(async move {
            Ok(driver::Served {
                track,
                hops: Vec::new(),
                lease: None,
            })
        })
    }

    fn announced(&self) -> watch::Receiver<Arc<Vec<driver::Announced>>> {
        self.none.clone()
    }
}

/// The header of a group of this number.
pub fn header(number: u64) -> group::Header {
    group::Header {
        epoch: 1,
        number,
        wallclock_us: 0,
        first_msn: number,
        first_part: 1,
        discontinuities: 0,
        segment_max: Timestamp::from_millis(6_000),
        part_target: Timestamp::from_millis(400),
        config_id: 0,
        discontinuity: false,
        catalog: Arc::new(Catalog::default()),
    }
}
