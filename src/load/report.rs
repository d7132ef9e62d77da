//! What `weir load play` and `weir load publish` say at the end: one type each for machines
//! (`--json`) and for people.
//!
//! Times are milliseconds with three decimals, counts are over all viewers. A field is added when
//! there is something new to say; none changes its meaning.

use super::delays::Delays;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What all viewers saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How many were asked for.
    pub viewers: u64,
    /// How many got a picture (a sound where there are no pictures, a byte with `--validate none`).
    pub joined: u64,
    /// From the first viewer's start to the last one's end.
    pub seconds: f64,
    /// From the start of a viewer to the first byte of the stream, redirects included.
    pub first_byte: Delays,
    /// From the start of a viewer to the whole of its first key frame.
    pub first_key_frame: Delays,
    /// From the stamp in each picture to the arrival of its last byte. Pictures that were sent
    /// before the viewer started do not count; without stamps none does.
    pub latency: Delays,
    /// Where players would have run dry.
    pub stalls: Stalls,
    /// Bytes of the streams, framing of HTTP left out.
    pub bytes: u64,
    /// Frames by how they came.
    pub frames: Frames,
    /// Viewers that failed, by why.
    pub errors: BTreeMap<String, u64>,
    /// Viewers by the address that served them; one who moved is counted at both.
    pub edges: BTreeMap<String, u64>,
    /// What only viewers of HLS have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hls: Option<Hls>,
    /// What only viewers of FLV with `weir=1` have, when an edge asked some to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<Moves>,
    /// Connections that broke while somebody played, with `--reconnect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<Breaks>,
    /// The same over time.
    pub intervals: Vec<Interval>,
}

/// Where playback would have run dry with the buffer of `--buffer`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    /// How much players gather before they start, and again after they ran dry.
    pub buffer_ms: f64,
    /// How often.
    pub count: u64,
    /// How long, all viewers together.
    pub seconds: f64,
    /// The longest.
    #[serde(default)]
    pub longest_s: f64,
    /// Viewers with a stall among those that joined, 0 to 1.
    pub share: f64,
}

/// Frames received, and those that should have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// Received, with nothing wrong found.
    pub right: u64,
    /// Damaged, older than the one before, or not the source's.
    pub wrong: u64,
    /// Missing before a frame received: by the numbers in the stamps, or by the source.
    pub dropped: u64,
    /// With a timestamp before that of the track's last frame.
    pub backwards: u64,
}

/// Playlists and parts. Times are from a request to the last byte of its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hls {
    /// Media playlists that are answered at once.
    pub playlist: Delays,
    /// Media playlists that wait for the next part: a part's duration, when all is well.
    pub blocked: Delays,
    /// Parts and segments.
    pub part: Delays,
    /// Bytes of media playlists, as they came.
    pub playlist_bytes: u64,
    /// Parts and segments that could be read.
    pub parts: u64,
    /// Tracks with time missing before a fragment: the source's, or lost.
    pub gaps: u64,
    /// Times that a viewer went over to another pathway, as content steering told it.
    #[serde(default)]
    pub moved: u64,
    /// What was wrong with parts, by what it was.
    pub faults: BTreeMap<String, u64>,
}

/// Viewers whom their edge asked to leave: make before break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moves {
    /// How often they asked the scheduler where to go.
    pub asked: u64,
    /// They went over to another edge.
    pub moved: u64,
    /// They were where they should be.
    pub stayed: u64,
    /// The other edge could not be reached, or did not have the viewer's frame in time.
    pub failed: u64,
    /// From the last frame of one edge to the first of the other.
    pub gap: Delays,
    /// Stalls within five seconds of being asked, among all stalls.
    pub stalls: u64,
    /// How long those were, all together.
    pub stalled_s: f64,
}

/// Connections that broke, of viewers who then asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breaks {
    /// How often; more than `again` counts when some had no picture again before they left.
    pub count: u64,
    /// From there to the next picture.
    pub again: Delays,
}

/// What happened in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it ended, from the first viewer's start.
    pub at_s: f64,
    /// Viewers watching at its end.
    pub watching: u64,
    /// Viewers that joined in it.
    pub joined: u64,
    /// Bytes received in it.
    pub bytes: u64,
    /// First key frames in it.
    pub first_key_frame: Delays,
    /// Latencies in it.
    pub latency: Delays,
}

/// What all publishers did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// How many streams were asked for.
    pub streams: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// How much later than due frames were sent; when this grows, the publisher is the bottleneck.
    pub lateness: Delays,
    /// Streams that failed, by why.
    pub errors: BTreeMap<String, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stalls, frames, .. } = self;
        writeln!(
            f,
            "viewers          {} of {} joined",
            self.joined, self.viewers
        )?;
        writeln!(
            f,
            "received         {:.3} GB in {:.1} s, {:.1} Mbit/s",
            self.bytes as f64 / 1e9,
            self.seconds,
            self.bytes as f64 * 8e-6 / self.seconds.max(f64::MIN_POSITIVE),
        )?;
        writeln!(f, "first byte       {}", self.first_byte)?;
        writeln!(f, "first key frame  {}", self.first_key_frame)?;
        writeln!(f, "latency          {}", self.latency)?;
        writeln!(
            f,
            "stalls           {}, {:.1} s in all, {:.1} s at most, {:.2} % of viewers (buffer {} ms)",
            stalls.count,
            stalls.seconds,
            stalls.longest_s,
            stalls.share * 100.0,
            stalls.buffer_ms,
        )?;
        writeln!(
            f,
            "frames           {} right, {} wrong, {} dropped, {} backwards",
            frames.right, frames.wrong, frames.dropped, frames.backwards,
        )?;
        if let Some(moves) = &self.moves {
            writeln!(
                f,
                "asked to leave   {}: {} moved, {} stayed, {} failed; {} stalls, {:.1} s in all",
                moves.asked, moves.moved, moves.stayed, moves.failed, moves.stalls, moves.stalled_s,
            )?;
            writeln!(f, "gap of a move    {}", moves.gap)?;
        }
        if let Some(breaks) = &self.breaks {
            writeln!(
                f,
                "broken           {}; again after {}",
                breaks.count, breaks.again
            )?;
        }
        if let Some(hls) = &self.hls {
            writeln!(f, "playlists        {}", hls.playlist)?;
            writeln!(f, "waiting for part {}", hls.blocked)?;
            writeln!(
                f,
                "parts            {}; {} in all, {} gaps, {} moves",
                hls.part, hls.parts, hls.gaps, hls.moved
            )?;
            list(f, "wrong", &hls.faults)?;
        }
        list(f, "served by", &self.edges)?;
        list(f, "failed", &self.errors)
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.errors.values().sum::<u64>();
        writeln!(f, "streams          {}, {failed} failed", self.streams)?;
        writeln!(
            f,
            "sent             {} frames, {:.3} GB",
            self.frames,
            self.bytes as f64 / 1e9
        )?;
        writeln!(f, "lateness         {}", self.lateness)?;
        list(f, "failed", &self.errors)
    }
}

fn list(f: &mut fmt::Formatter<'_>, name: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    for (what, count) in counts {
        writeln!(f, "{name:<16} {count} {what}")?;
    }
    Ok(())
}
