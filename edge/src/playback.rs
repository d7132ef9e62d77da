//! How viewers take a stream: one file per protocol, over the same tags.

pub mod timeline;
pub mod tags;
pub mod flv;
pub mod websocket;

use std::time::Duration;

/// What a viewer is allowed and promised.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long frames are gathered into one write while many are watching.
    pub latency: Duration,
    /// A viewer so far behind goes on at the newest key frame.
    pub skip_after: Duration,
    /// A viewer that takes nothing for so long is closed.
    pub close_after: Duration,
}

impl Terms {
    /// How long to gather when so many are watching.
    fn gathering(&self, viewers: u32) -> Duration {
        if viewers > FEW_VIEWERS {
            self.latency
        } else {
            Duration::ZERO
        }
    }
}

/// Up to here each frame is written at once: 75 frames a second to each are less than a tenth of a core.
const FEW_VIEWERS: u32 = 50;
