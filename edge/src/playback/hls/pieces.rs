//! Hot: init sections, segments and parts: found by their numbers, made once, kept by weight.
//!
//! What is kept of a segment is which parts it has; its bytes are theirs, one after the other. Payloads are referenced,
//! not copied, and weigh here in full: what is kept stays within its own budget also when the group it came from was
//! dropped.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cluster::stream::StreamKey;
use media::fmp4;
use moka::sync::Cache;
use relay::group::{Group, Header};
use relay::track::{Consumer, MAX_GROUPS};

use super::layout::{Outline, Part};
use super::{Absent, Piece};
use crate::meter::Metrics;

/// Bytes in few pieces; a clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    /// In their order.
    pub(crate) pieces: Arc<[Bytes]>,
}

impl Made {
    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// What is remembered of a piece.
#[derive(Clone, Debug)]
enum Kept {
    /// Its bytes.
    Bytes(Made),
    /// The numbers of a segment's parts.
    Parts(Range<u64>),
}

/// What became of the search for a piece.
#[derive(Debug)]
pub(super) enum Find {
    /// It is made.
    Found(Made),
    /// It is about to come.
    Soon,
    /// It is of an epoch that has not begun here.
    NewEpoch,
    /// It was lost, and is asked for again.
    Mending,
    /// It is older than all that is here.
    Past,
    /// It never was.
    Never,
}

/// The pieces that are kept.
#[derive(Debug)]
pub(super) struct Pieces {
    kept: Cache<(StreamKey, Piece), Kept>,
    metrics: Metrics,
}

impl Pieces {
    /// Nothing yet, and at most so many bytes.
    pub(super) fn new(max_bytes: u64, metrics: Metrics) -> Self {
        let weigh = |_: &(StreamKey, Piece), kept: &Kept| match kept {
            Kept::Bytes(made) => u32::try_from(made.len() + ENTRY).unwrap_or(u32::MAX),
            Kept::Parts(_) => ENTRY as u32,
        };
        let kept = Cache::builder().weigher(weigh).max_capacity(max_bytes);
        Self {
            kept: kept.build(),
            metrics,
        }
    }

    /// A piece that was made before, all of it.
    pub(super) fn kept(&self, stream: &StreamKey, piece: Piece) -> Option<Made> {
        match self.kept.get(&(stream.clone(), piece))? {
            Kept::Bytes(made) => Some(made),
            Kept::Parts(numbers) => {
                let epoch = piece.epoch();
                let parts = numbers.map(|number| {
                    let part = Piece::Part { epoch, number };
                    match self.kept.get(&(stream.clone(), part))? {
                        Kept::Bytes(made) => Some(made),
                        Kept::Parts(_) => None,
                    }
                });
                Some(chain(&parts.collect::<Option<Vec<_>>>()?))
            }
        }
    }

    /// Looks for a piece in the track, and makes it.
    pub(super) fn make(
        &self,
        stream: &StreamKey,
        piece: Piece,
        track: &Consumer,
    ) -> Result<Find, Absent> {
        // It may have been made while this one waited.
        if let Some(made) = self.kept(stream, piece) {
            return Ok(Find::Found(made));
        }
        let groups = track.recent(MAX_GROUPS);
        let newest = groups.first().map_or(0, |group| group.key().epoch);
        let epoch = piece.epoch();
        if epoch > newest {
            return Ok(if track.is_over(None) {
                Find::Never
            } else {
                Find::NewEpoch
            });
        }
        let groups: Vec<Group> = groups
            .into_iter()
            .filter(|g| g.key().epoch == epoch)
            .collect();
        match piece {
            Piece::Init { config_id, .. } => {
                let of = |group: &&Group| group.header().config_id == config_id;
                let Some(group) = groups.iter().find(of) else {
                    return Ok(missing_init(&groups, config_id));
                };
                let init = || {
                    let init = fmp4::init(&group.header().catalog);
                    init.map(|bytes| Made {
                        pieces: [bytes].into(),
                    })
                };
                self.once(stream, piece, init).map(Find::Found)
            }
            Piece::Segment { msn, .. } => self.segment(stream, msn, &groups, track),
            Piece::Part { number, .. } => {
                let place = place(&groups, |header| header.first_part, number);
                let (group, outline) = match place {
                    Ok(found) => found,
                    Err(find) => return Ok(find),
                };
                match outline.part(number) {
                    Some(part) => self.part(stream, group, part).map(Find::Found),
                    None => {
                        let most = outline.next_part() + PARTS_AHEAD;
                        Ok(not_yet(&groups, group, number <= most, track))
                    }
                }
            }
        }
    }

    fn segment(
        &self,
        stream: &StreamKey,
        msn: u64,
        groups: &[Group],
        track: &Consumer,
    ) -> Result<Find, Absent> {
        let (group, outline) = match place(groups, |header| header.first_msn, msn) {
            Ok(found) => found,
            Err(find) => return Ok(find),
        };
        let Some(segment) = outline.segment(msn) else {
            let most = outline.next_msn() + MSN_AHEAD;
            return Ok(not_yet(groups, group, msn <= most, track));
        };
        let parts = segment.parts.iter();
        let made = parts.map(|part| self.part(stream, group, part));
        let made = made.collect::<Result<Vec<_>, _>>()?;
        if let (Some(first), Some(last)) = (segment.parts.first(), segment.parts.last()) {
            let epoch = group.key().epoch;
            let numbers = Kept::Parts(first.number..last.number + 1);
            let piece = Piece::Segment { epoch, msn };
            self.kept.insert((stream.clone(), piece), numbers);
        }
        Ok(Find::Found(chain(&made)))
    }

    fn part(&self, stream: &StreamKey, group: &Group, part: &Part) -> Result<Made, Absent> {
        let piece = Piece::Part {
            epoch: group.key().epoch,
            number: part.number,
        };
        self.once(stream, piece, || mux(group, part))
    }

    /// Makes a piece, unless somebody else does: then it is theirs, too.
    fn once(
        &self,
        stream: &StreamKey,
        piece: Piece,
        make: impl FnOnce() -> Result<Made, fmp4::Error>,
    ) -> Result<Made, Absent> {
        let counted = || {
            self.metrics.hls_muxed.inc();
            make().map(Kept::Bytes)
        };
        match self.kept.try_get_with((stream.clone(), piece), counted) {
            Ok(Kept::Bytes(made)) => Ok(made),
            Ok(Kept::Parts(_)) => Err(Absent::Gone),
            Err(error) => Err(Absent::Codec(error.to_string())),
        }
    }
}

fn mux(group: &Group, part: &Part) -> Result<Made, fmp4::Error> {
    let run = &part.frames;
    let frames = group.frames(run.start as usize).take(run.len());
    let frames: Vec<_> = frames.collect();
    let frames = frames.into_iter();
    let pieces = fmp4::part(&group.header().catalog, part.number, frames, part.end)?;
    Ok(Made {
        pieces: pieces.into(),
    })
}

/// The bytes of several, one after the other.
fn chain(parts: &[Made]) -> Made {
    let pieces = parts.iter().flat_map(|made| made.pieces.iter().cloned());
    Made {
        pieces: pieces.collect(),
    }
}

/// The group in which a number falls, and its outline; groups are given newest first.
fn place(
    groups: &[Group],
    first: impl Fn(&Header) -> u64,
    number: u64,
) -> Result<(&Group, Outline), Find> {
    if groups.is_empty() {
        return Err(Find::Past);
    }
    let group = groups.iter().find(|group| first(group.header()) <= number);
    group
        .map(|group| (group, Outline::of(group)))
        .ok_or(Find::Past)
}

/// Whether a number that its group does not have will come; `near` if it is no further than may be asked for.
fn not_yet(groups: &[Group], group: &Group, near: bool, track: &Consumer) -> Find {
    let is_newest = groups
        .first()
        .is_some_and(|newest| newest.key() == group.key());
    match (group.end(), is_newest) {
        (None, _) if near => Find::Soon,
        (Some(_), true) if near && !track.is_over(Some(group.key())) => Find::Soon,
        // The group was cut short, or those after it are missing.
        (Some(_), false) => Find::Mending,
        _ => Find::Never,
    }
}

fn missing_init(groups: &[Group], config_id: u32) -> Find {
    match groups.first() {
        Some(newest) if newest.header().config_id < config_id => Find::Soon,
        _ => Find::Past,
    }
}

/// Parts that another edge may know earlier: a segment's.
const PARTS_AHEAD: u64 = 16;

/// Segments that a player may ask for before they are there.
const MSN_AHEAD: u64 = 3;

/// What an entry takes beside its bytes.
const ENTRY: usize = 256;
