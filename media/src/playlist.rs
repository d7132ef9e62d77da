//! Sans-IO: HLS media playlists (rfc8216bis) as values, and their text, full or as a delta update.
//!
//! - A playlist is of one epoch, so that its sequence numbers are consecutive.
//! - The text follows from the value alone; whoever serves it keeps what it wrote for each form.
//! - What a URI looks like is the server's business: it comes in as [`Uris`].
//! - Each segment has its program date time: real time, where declared durations stay within the
//!   terms.

use crate::segment::Terms;
use crate::timestamp::Timestamp;
use std::fmt::{self, Display, Write};

/// A live stream's window at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// What the epoch's durations keep to.
    pub terms: Terms,
    /// Media sequence number of the first segment.
    pub first_msn: u64,
    /// Discontinuity sequence number (rfc8216bis 4.4.3.3) of the first segment, its own
    /// discontinuity counted.
    pub discontinuities: u64,
    /// The complete segments, and last the one that still grows.
    pub segments: Vec<Segment>,
    /// The state of the last segment and of what follows it.
    pub edge: Edge,
    /// How far other renditions are.
    pub reports: Vec<Report>,
}

/// How a playlist ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// All segments are complete; the next part opens another one.
    Complete {
        /// The number of that part, if it can be asked for already.
        hint: Option<u64>,
    },
    /// The last segment still grows.
    Open {
        /// The number of its next part.
        hint: u64,
    },
    /// Nothing more comes; the last segment is complete.
    Ended,
}

/// A segment of a playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Wall-clock time of its first frame, in Unix microseconds.
    pub wallclock_us: u64,
    /// Which init segment it needs.
    pub config_id: u32,
    /// Discontinuities between the segment before and this one; of the first: whether it begins
    /// with one.
    pub discontinuities: u64,
    /// The media.
    pub media: Content,
}

/// What there is of a segment.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Its parts that are complete.
    Parts(Vec<Part>),
    /// It is lost, and was this long (EXT-X-GAP).
    Gap(Timestamp),
}

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, consecutive over the epoch.
    pub number: u64,
    /// As declared.
    pub duration: Timestamp,
    /// Whether it has a key frame.
    pub independent: bool,
}

/// How far another rendition's playlist is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its playlist.
    pub uri: String,
    /// Media sequence number of its last segment.
    pub msn: u64,
    /// Index of its last part in that segment.
    pub part: Option<u64>,
}

/// How URIs are written, relative to the playlist.
pub trait Uris {
    /// Of an init segment.
    fn init(&self, config_id: u32) -> impl Display;
    /// Of a segment.
    fn segment(&self, msn: u64) -> impl Display;
    /// Of a part.
    fn part(&self, number: u64) -> impl Display;
}

/// How much of a playlist is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// All of it.
    Full,
    /// Without what a client has that asks `_HLS_skip=YES` (rfc8216bis 6.2.5.1), where there is
    /// anything to leave out.
    Delta,
}

impl Segment {
    /// As declared: EXTINF when it is complete.
    pub fn duration(&self) -> Timestamp {
        match &self.media {
            Content::Parts(parts) => parts
                .iter()
                .fold(Timestamp::ZERO, |sum, part| sum + part.duration),
            Content::Gap(duration) => *duration,
        }
    }
}

impl Media {
    /// EXT-X-TARGETDURATION in seconds, which no duration of these terms exceeds when rounded.
    pub fn target(terms: Terms) -> u64 {
        let us = terms.segment_max.as_micros().max(1).unsigned_abs();
        us.div_ceil(1_000_000)
    }

    /// The playlist's text.
    pub fn text(&self, form: Form, uris: &impl Uris) -> String {
        let mut out = String::with_capacity(HEAD + self.segments.len() * LINE);
        self.write(form, uris, &mut out)
            .expect("a string takes what is written to it");
        out
    }

    fn write(&self, form: Form, uris: &impl Uris, out: &mut String) -> fmt::Result {
        self.head(out)?;
        let from_end = self.distances();
        let skipped = match form {
            Form::Full => 0,
            Form::Delta => self.skippable(&from_end),
        };
        if skipped > 0 {
            writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
        }
        let parts_within = self.target_us() * PARTS_LISTED;
        let mut config = skipped.checked_sub(1).map(|at| self.segments[at].config_id);
        for (index, segment) in self.segments.iter().enumerate().skip(skipped) {
            let before = config.replace(segment.config_id);
            self.opening(index, before, uris, out)?;
            if from_end[index].as_micros() < parts_within && self.edge != Edge::Ended {
                parts(segment, uris, out)?;
            }
            if self.is_complete(index) {
                if matches!(segment.media, Content::Gap(_)) {
                    out.push_str("#EXT-X-GAP\n");
                }
                let uri = uris.segment(self.first_msn + index as u64);
                writeln!(out, "#EXTINF:{},\n{uri}", Seconds(segment.duration()))?;
            }
        }
        self.tail(uris, out)
    }

    fn head(&self, out: &mut String) -> fmt::Result {
        let part = self.terms.part_target.as_micros();
        let target = Self::target(self.terms);
        let own = self
            .segments
            .first()
            .map_or(0, |first| first.discontinuities);
        let hold_back = Seconds(Timestamp::from_micros(part * PART_HOLD_BACK));
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{VERSION}")?;
        writeln!(out, "#EXT-X-TARGETDURATION:{target}")?;
        writeln!(
            out,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={},HOLD-BACK={},\
             PART-HOLD-BACK={hold_back}",
            target * SKIP_UNTIL,
            target * HOLD_BACK,
        )?;
        let part_target = Seconds(self.terms.part_target);
        writeln!(out, "#EXT-X-PART-INF:PART-TARGET={part_target}")?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", self.first_msn)?;
        let discontinuities = self.discontinuities.saturating_sub(own);
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}")
    }

    /// The tags before a segment's first part.
    fn opening(
        &self,
        index: usize,
        config: Option<u32>,
        uris: &impl Uris,
        out: &mut String,
    ) -> fmt::Result {
        let segment = &self.segments[index];
        for _ in 0..segment.discontinuities {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if config != Some(segment.config_id) {
            writeln!(out, "#EXT-X-MAP:URI=\"{}\"", uris.init(segment.config_id))?;
        }
        writeln!(
            out,
            "#EXT-X-PROGRAM-DATE-TIME:{}",
            Date(segment.wallclock_us)
        )
    }

    fn tail(&self, uris: &impl Uris, out: &mut String) -> fmt::Result {
        let hint = match self.edge {
            Edge::Ended => {
                out.push_str("#EXT-X-ENDLIST\n");
                return Ok(());
            }
            Edge::Open { hint } => Some(hint),
            Edge::Complete { hint } => hint,
        };
        if let Some(hint) = hint {
            let uri = uris.part(hint);
            writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{uri}\"")?;
        }
        for report in &self.reports {
            let Report { uri, msn, part } = report;
            write!(out, "#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={msn}")?;
            if let Some(part) = part {
                write!(out, ",LAST-PART={part}")?;
            }
            out.push('\n');
        }
        Ok(())
    }

    fn is_complete(&self, index: usize) -> bool {
        let is_last = index + 1 == self.segments.len();
        !is_last || !matches!(self.edge, Edge::Open { .. })
    }

    /// How far each segment's end is from the playlist's.
    fn distances(&self) -> Vec<Timestamp> {
        let mut sum = Timestamp::ZERO;
        let mut out: Vec<_> = self
            .segments
            .iter()
            .rev()
            .map(|segment| {
                let from_end = sum;
                sum += segment.duration();
                from_end
            })
            .collect();
        out.reverse();
        out
    }

    /// How many segments a delta update leaves out: those wholly before the skip boundary.
    fn skippable(&self, from_end: &[Timestamp]) -> usize {
        let boundary = self.target_us() * SKIP_UNTIL as i64;
        let older = |at: &&Timestamp| at.as_micros() >= boundary;
        from_end.iter().take_while(older).count()
    }

    fn target_us(&self) -> i64 {
        Self::target(self.terms) as i64 * 1_000_000
    }
}

fn parts(segment: &Segment, uris: &impl Uris, out: &mut String) -> fmt::Result {
    let Content::Parts(parts) = &segment.media else {
        return Ok(());
    };
    for part in parts {
        let (duration, uri) = (Seconds(part.duration), uris.part(part.number));
        write!(out, "#EXT-X-PART:DURATION={duration},URI=\"{uri}\"")?;
        out.push_str(if part.independent {
            ",INDEPENDENT=YES\n"
        } else {
            "\n"
        });
    }
    Ok(())
}

/// A duration in seconds, exact, without zeros at the end but for one.
struct Seconds(Timestamp);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros().max(0);
        let (whole, mut rest, mut digits) = (us / 1_000_000, us % 1_000_000, 6);
        while digits > 1 && rest % 10 == 0 {
            (rest, digits) = (rest / 10, digits - 1);
        }
        write!(f, "{whole}.{rest:0digits$}")
    }
}

/// Unix microseconds as ISO 8601 with milliseconds, in UTC.
struct Date(u64);

impl Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1000;
        let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

/// Year, month and day of a count of days since 1970 in the Gregorian calendar, by years that
/// begin in March and eras of 400 of them.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since March 1 of year 0
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// EXT-X-SKIP needs 9 (rfc8216bis 8).
const VERSION: u32 = 9;

/// CAN-SKIP-UNTIL in target durations: the least that is allowed (4.4.3.8).
const SKIP_UNTIL: u64 = 6;

/// HOLD-BACK in target durations: the least that is allowed (4.4.3.8).
const HOLD_BACK: u64 = 3;

/// PART-HOLD-BACK in part targets: the least that is recommended (4.4.3.8), as latency is what
/// parts are for.
const PART_HOLD_BACK: i64 = 3;

/// Target durations from the end within which segments list their parts (6.2.2).
const PARTS_LISTED: i64 = 3;

/// Room for the tags before the first segment, and the parts of the last ones.
const HEAD: usize = 4096;

/// Room for a segment's tags without parts.
const LINE: usize = 128;

#[cfg(test)]
mod tests;
