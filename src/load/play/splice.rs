//! Sans-IO: one run of FLV for a viewer out of as many connections as it takes, as the page's player makes it.
//!
//! An edge asked with `weir=1` tells by `onWeir` which frame comes next (docs/protocols.md, Resume), and that it wants
//! the viewer to leave. A frame that the viewer has already is left out, whichever connection brings it. Payloads are
//! handed on as they come; only script tags and the first bytes of others are held.

use bytes::{Buf, Bytes, BytesMut};
use media::{
    amf,
    flv::{
        Error,
        tag::{AUDIO, HEADER_LEN, SCRIPT, TRAILER_LEN, VIDEO},
    },
};
use std::fmt;

/// A frame's place in a stream; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The stream's life.
    pub epoch: u64,
    /// The group within it.
    pub group: u64,
    /// The frame within the group.
    pub frame: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.group, self.frame)
    }
}

/// What a viewer has, over all connections.
#[derive(Debug, Default)]
pub struct Splice {
    /// The last frame.
    pub last: Option<Place>,
    /// Whether it has the stream's header.
    has_header: bool,
}

impl Splice {
    /// Whether a connection that begins with this frame leaves nothing out: the viewer has it already.
    pub fn meets(&self, place: Place) -> bool {
        self.last
            .is_some_and(|last| last >= place && last.epoch == place.epoch)
    }

    /// Takes a frame unless it is there already.
    fn takes(&mut self, place: Option<Place>) -> bool {
        let Some(place) = place else {
            return true;
        };
        let is_new = self.last.is_none_or(|last| place > last);
        if is_new {
            self.last = Some(place);
        }
        is_new
    }
}

/// One connection's way in.
#[derive(Debug, Default)]
pub struct Inlet {
    /// The beginning of what is being read.
    held: BytesMut,
    /// Bytes of a tag still to come, and whether they are handed on.
    rest: (usize, bool),
    begun: bool,
    /// The first frame.
    begins: Option<Place>,
    /// The next frame.
    next: Option<Place>,
    /// The edge wants the viewer to leave.
    asked: bool,
}

impl Inlet {
    /// Takes bytes, and hands on those that the viewer shall get; how many frames begin in them.
    pub fn push(
        &mut self,
        splice: &mut Splice,
        mut bytes: &[u8],
        mut on: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut frames = 0;
        loop {
            let (passing, rest) = bytes.split_at(self.rest.0.min(bytes.len()));
            if self.rest.1 && !passing.is_empty() {
                on(passing);
            }
            self.rest.0 -= passing.len();
            bytes = rest;
            if self.rest.0 > 0 {
                return Ok(frames);
            }
            let wanted = self.wanted()?;
            let taken = wanted.saturating_sub(self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.held.len() < wanted {
                return Ok(frames);
            }
            // A tag's header may have told only now how much is wanted.
            if self.wanted()? == wanted {
                frames += usize::from(self.begin(splice, &mut on)?);
            }
        }
    }

    /// The first frame's place, where the edge told it.
    pub fn begins(&self) -> Option<Place> {
        self.begins
    }

    /// Whether the edge wanted the viewer to leave since this was last asked.
    pub fn was_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// How many bytes must be held before more can be said.
    fn wanted(&self) -> Result<usize, Error> {
        if !self.begun {
            return Ok(FILE_HEADER);
        }
        let Some(header) = self.held.first_chunk::<HEADER_LEN>() else {
            return Ok(HEADER_LEN);
        };
        match (header[0], size(header)) {
            (SCRIPT, size) if size > MAX_SCRIPT => Err(Error::TooLarge("script")),
            (SCRIPT, size) => Ok(HEADER_LEN + size + TRAILER_LEN),
            (AUDIO | VIDEO, size) => Ok(HEADER_LEN + size.min(HEAD)),
            (other, _) => Err(Error::TagType(other)),
        }
    }

    /// Reads what is held; whether it begins a frame that is handed on.
    fn begin(&mut self, splice: &mut Splice, on: &mut impl FnMut(&[u8])) -> Result<bool, Error> {
        let held = self.held.split().freeze();
        if !std::mem::replace(&mut self.begun, true) {
            if !std::mem::replace(&mut splice.has_header, true) {
                on(&held);
            }
            return Ok(false);
        }
        let header = held.first_chunk::<HEADER_LEN>().ok_or(Error::NotFlv)?;
        let body = held.slice(HEADER_LEN..);
        let missing = (size(header) + TRAILER_LEN).saturating_sub(body.len());
        if header[0] == SCRIPT {
            if !self.script(body.slice(..body.len() - TRAILER_LEN)) {
                on(&held);
            }
            return Ok(false);
        }
        let is_frame = carries_frame(header[0], &body);
        let taken = if is_frame {
            let place = self.next;
            if let Some(next) = &mut self.next {
                next.frame += 1;
            }
            splice.takes(place)
        } else {
            true
        };
        if taken {
            on(&held);
        }
        self.rest = (missing, taken);
        Ok(is_frame && taken)
    }

    /// Whether a script tag was for us; one that is broken is the demuxer's business.
    fn script(&mut self, mut body: Bytes) -> bool {
        let name = amf::decode(&mut body);
        if !name.is_ok_and(|name| name.as_str() == Some("onWeir")) || !body.has_remaining() {
            return false;
        }
        let Ok(value) = amf::decode(&mut body) else {
            return false;
        };
        let number = |name| value.get(name).and_then(amf::Value::as_f64);
        self.asked |= value.get("move").and_then(amf::Value::as_bool) == Some(true);
        if let (Some(epoch), Some(group)) = (number("epoch"), number("group")) {
            let place = Place {
                epoch: epoch as u64,
                group: group as u64,
                frame: number("frame").unwrap_or(0.0) as u64,
            };
            self.next = Some(place);
            self.begins.get_or_insert(place);
        }
        true
    }
}

/// Whether a tag of sound or picture carries a frame: no sequence header, end of sequence, metadata or command (Adobe
/// FLV 10.1, E.4; enhanced RTMP v2).
fn carries_frame(kind: u8, body: &[u8]) -> bool {
    let (first, second) = match body {
        [] => return false,
        [first] => (*first, None),
        [first, second, ..] => (*first, Some(*second)),
    };
    let coded = |packet: u8, others: &[u8]| packet != 0 && packet != 2 && !others.contains(&packet);
    match kind {
        AUDIO if first >> 4 == 9 => coded(first & 15, &[4]),
        AUDIO => first >> 4 != 10 || second != Some(0),
        _ if first & 0x80 != 0 => coded(first & 15, &[4, 5]),
        _ if first >> 4 == 5 => false,
        _ if [7, 12].contains(&(first & 15)) => second == Some(1),
        _ => true,
    }
}

fn size(header: &[u8; HEADER_LEN]) -> usize {
    u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize
}

/// The stream's header with the first PreviousTagSize (E.2).
const FILE_HEADER: usize = 9 + TRAILER_LEN;
/// What tells a frame from a header.
const HEAD: usize = 2;
/// Metadata are some hundred bytes.
const MAX_SCRIPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32).to_be_bytes();
        let trailer = (body.len() as u32 + 11).to_be_bytes();
        let header = [kind, size[1], size[2], size[3], 0, 0, 0, 0, 0, 0, 0];
        [&header[..], body, &trailer].concat()
    }

    fn on_weir(members: &[(&str, amf::Value)]) -> Vec<u8> {
        let members = members
            .iter()
            .map(|(name, it)| (name.to_string(), it.clone()));
        let value = amf::Value::Object(members.collect());
        tag(SCRIPT, &amf::encode_all(&["onWeir".into(), value]))
    }

    fn start() -> Vec<u8> {
        let header = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
        [
            &header[..],
            &tag(VIDEO, &[0x17, 0, 0, 0, 0, 1]),
            &tag(AUDIO, &[0xaf, 0, 1]),
        ]
        .concat()
    }

    fn frame(group: u8, number: u8) -> Vec<u8> {
        tag(VIDEO, &[0x27, 1, 0, 0, 0, group, number])
    }

    /// Frames `from..to` of a group, as an edge writes them.
    fn group(epoch: u64, group: u8, from: u8, to: u8) -> Vec<u8> {
        let mut members = vec![
            ("epoch", amf::Value::from(epoch as f64)),
            ("group", f64::from(group).into()),
        ];
        if from > 0 {
            members.push(("frame", f64::from(from).into()));
        }
        let frames = (from..to).flat_map(|number| frame(group, number));
        on_weir(&members).into_iter().chain(frames).collect()
    }

    fn leave() -> Vec<u8> {
        on_weir(&[("move", true.into())])
    }

    /// What a viewer gets of connections one after the other, each in pieces of that size.
    fn spliced(connections: &[Vec<u8>], piece: usize) -> (Vec<u8>, Splice) {
        let (mut splice, mut got) = (Splice::default(), Vec::new());
        for bytes in connections {
            let mut inlet = Inlet::default();
            for piece in bytes.chunks(piece) {
                let on = |bytes: &[u8]| got.extend_from_slice(bytes);
                inlet.push(&mut splice, piece, on).unwrap();
            }
        }
        (got, splice)
    }

    proptest! {
        #[test]
        fn two_connections_are_one_stream_without_a_frame_twice(
            piece in 1..200usize,
            met in 0..4u8,
        ) {
            let first = [start(), group(5, 7, 0, 3), leave(), frame(7, 3)].concat();
            let second = [start(), group(5, 7, met, 4), group(5, 8, 0, 2)].concat();
            let (got, splice) = spliced(&[first, second], piece);
            let configs = start().split_off(FILE_HEADER);
            let frames = [(7, 0), (7, 1), (7, 2), (7, 3)].map(|(g, n)| frame(g, n)).concat();
            let rest = [frame(8, 0), frame(8, 1)].concat();
            prop_assert_eq!(got, [start(), frames, configs, rest].concat());
            prop_assert_eq!(splice.last.unwrap().to_string(), "5.8.1");
        }

        #[test]
        fn garbage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1..50usize,
        ) {
            let (mut splice, mut inlet) = (Splice::default(), Inlet::default());
            let all = [start(), bytes].concat();
            for piece in all.chunks(piece) {
                if inlet.push(&mut splice, piece, |_| {}).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn an_edge_says_where_it_begins_and_that_a_viewer_shall_leave() {
        let (mut splice, mut inlet) = (Splice::default(), Inlet::default());
        let mut push = |inlet: &mut Inlet, bytes: &[u8]| {
            inlet.push(&mut splice, bytes, |_| {}).unwrap();
            splice.last
        };
        push(&mut inlet, &start());
        assert_eq!((inlet.begins(), inlet.was_asked()), (None, false));
        let last = push(&mut inlet, &group(5, 7, 2, 4)).unwrap();
        push(&mut inlet, &leave());
        assert_eq!((inlet.was_asked(), inlet.was_asked()), (true, false));
        assert_eq!(inlet.begins().unwrap().to_string(), "5.7.2");
        for (epoch, group, frame, meets) in [
            (5, 7, 2, true),
            (5, 7, 3, true),
            (5, 6, 9, true),
            (5, 7, 4, false),
            (5, 8, 0, false),
            (4, 7, 2, false),
            (6, 0, 0, false),
        ] {
            let place = Place {
                epoch,
                group,
                frame,
            };
            assert_eq!(splice.meets(place), meets, "{place} after {last}");
        }
    }
}
