//! Sans-IO: the stamp that `weir load publish` puts into each picture, and how it is found again.
//!
//! An SEI message `user_data_unregistered` (H.264 D.1.7, H.265 D.2.7) in a NAL unit of its own
//! before the first slice: our UUID, when the frame was sent, its number, and a check over the rest
//! of the frame. Decoders skip it. NAL units stand behind four bytes of length, as encoders and
//! MP4 have them. Leaves out AV1 and audio, which go without.

use bytes::{BufMut, Bytes, BytesMut};
use media::codec::Codec;
use std::ops::Range;

/// What a stamped frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was sent: microseconds since the Unix epoch.
    pub unix_us: u64,
    /// Its place among the stamped frames of its publisher; wraps.
    pub number: u32,
    /// `check` of the frame without the stamp.
    pub check: u32,
}

/// A payload without the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What stands before the first slice.
    pub before: &'a [u8],
    /// The first slice and all behind it.
    pub after: &'a [u8],
}

/// The payload with a stamp in it; unchanged when its codec carries none, or it has no slice.
pub fn insert(codec: Codec, payload: &Bytes, unix_us: u64, number: u32) -> Bytes {
    let (Some(header), Some(at)) = (sei_header(codec), first_slice(codec, payload)) else {
        return payload.clone();
    };
    let (before, after) = payload.split_at(at);
    let check = Parts { before, after }.check();
    let mut message = [0; MESSAGE];
    message[..16].copy_from_slice(&UUID);
    message[16..24].copy_from_slice(&unix_us.to_be_bytes());
    message[24..28].copy_from_slice(&number.to_be_bytes());
    message[28..].copy_from_slice(&check.to_be_bytes());
    let mut unit = Vec::with_capacity(2 * MESSAGE);
    unit.extend_from_slice(header);
    unit.extend_from_slice(&[USER_DATA_UNREGISTERED, MESSAGE as u8]);
    escape(&message, &mut unit);
    unit.push(RBSP_TRAILING);
    let mut out = BytesMut::with_capacity(payload.len() + LENGTH + unit.len());
    out.put_slice(before);
    out.put_u32(unit.len() as u32);
    out.put_slice(&unit);
    out.put_slice(after);
    out.freeze()
}

/// The stamp of a payload, of which the first bytes may be all there is.
pub fn find(codec: Codec, payload: &[u8]) -> Option<Stamp> {
    locate(codec, payload).map(|(stamp, _)| stamp)
}

/// A whole payload without its stamp: the same parts whether it had one or not.
pub fn parts(codec: Codec, payload: &[u8]) -> Parts<'_> {
    let place = match locate(codec, payload) {
        Some((_, place)) => place,
        None => {
            let at = first_slice(codec, payload).unwrap_or(0);
            at..at
        }
    };
    Parts {
        before: &payload[..place.start],
        after: &payload[place.end..],
    }
}

impl Parts<'_> {
    /// Tells frames from each other, and damaged ones from whole ones; no protection from malice.
    pub fn hash(&self) -> u64 {
        mix(mix(0, self.before), self.after)
    }

    /// The hash, as short as it is in the stamp.
    pub fn check(&self) -> u32 {
        let hash = self.hash();
        (hash ^ hash >> 32) as u32
    }
}

/// Whether the NAL units of a payload fill it exactly; true for codecs that have none.
pub fn is_whole(codec: Codec, payload: &[u8]) -> bool {
    let filled = || units(payload).last().map_or(0, |unit| unit.place.end) == payload.len();
    sei_header(codec).is_none() || filled()
}

/// Eight bytes a step, because a load generator's core has other things to do.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(ODD);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word)));
    rest.iter()
        .fold(hash, |hash, byte| step(hash, u64::from(*byte) + 1))
}

/// The stamp, and the bytes that stamping added.
fn locate(codec: Codec, payload: &[u8]) -> Option<(Stamp, Range<usize>)> {
    let header = sei_header(codec)?;
    for unit in units(payload) {
        if is_slice(codec, unit.head) {
            return None;
        }
        let bytes = payload.get(unit.place.clone())?;
        if let Some(stamp) = bytes[LENGTH..].strip_prefix(header).and_then(read) {
            return Some((stamp, unit.place));
        }
    }
    None
}

/// Where the first slice begins.
fn first_slice(codec: Codec, payload: &[u8]) -> Option<usize> {
    sei_header(codec)?;
    let mut units = units(payload);
    let slice = units.find(|unit| is_slice(codec, unit.head))?;
    Some(slice.place.start)
}

struct Unit {
    /// The length and the NAL unit; its end may lie beyond the payload.
    place: Range<usize>,
    /// The first byte of the NAL unit's header.
    head: u8,
}

fn units(payload: &[u8]) -> impl Iterator<Item = Unit> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = payload.get(at..)?.first_chunk::<LENGTH>()?;
        let head = *payload.get(at + LENGTH)?;
        let place = at..at + LENGTH + u32::from_be_bytes(*length) as usize;
        at = place.end;
        Some(Unit { place, head })
    })
}

/// H.264 table 7-1; H.265 table 7-1.
fn is_slice(codec: Codec, head: u8) -> bool {
    match codec {
        Codec::H264 => (1..=5).contains(&(head & 0x1F)),
        _ => head >> 1 & 0x3F < 32,
    }
}

/// The header of an SEI NAL unit, in H.265 one that stands before the picture (PREFIX_SEI_NUT).
fn sei_header(codec: Codec) -> Option<&'static [u8]> {
    match codec {
        Codec::H264 => Some(&[6]),
        Codec::H265 => Some(&[39 << 1, 1]),
        _ => None,
    }
}

/// The message behind the NAL unit's header.
fn read(message: &[u8]) -> Option<Stamp> {
    let body = message.strip_prefix(&[USER_DATA_UNREGISTERED, MESSAGE as u8])?;
    let fields = body.strip_prefix(&UUID)?;
    let mut plain = [0; MESSAGE - 16];
    let mut length = 0;
    let mut zeros = 0;
    for &byte in fields {
        if zeros == 2 && byte == EMULATION_PREVENTION {
            zeros = 0;
            continue;
        }
        *plain.get_mut(length)? = byte;
        length += 1;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        if length == plain.len() {
            let [time, number, check] = [&plain[..8], &plain[8..12], &plain[12..]];
            return Some(Stamp {
                unix_us: u64::from_be_bytes(time.try_into().ok()?),
                number: u32::from_be_bytes(number.try_into().ok()?),
                check: u32::from_be_bytes(check.try_into().ok()?),
            });
        }
    }
    None
}

/// Two zeros and a byte up to 3 would look like a start code (H.264 7.4.1.1).
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in bytes {
        if zeros == 2 && byte <= EMULATION_PREVENTION {
            out.push(EMULATION_PREVENTION);
            zeros = 0;
        }
        out.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

/// Ours alone, drawn at random; without zeros, so that it stands unescaped.
const UUID: [u8; 16] = [
    0x9e, 0x1c, 0x5b, 0xd7, 0x24, 0x83, 0x4f, 0x6a, 0xb5, 0x3d, 0x71, 0xe8, 0xc6, 0x0f, 0x92, 0x4d,
];
/// UUID, time, number, check.
const MESSAGE: usize = 16 + 8 + 4 + 4;
/// Bytes of length before each NAL unit.
const LENGTH: usize = 4;
/// `payloadType` (H.264 D.1.1).
const USER_DATA_UNREGISTERED: u8 = 5;
/// The stop bit (H.264 7.3.2.11).
const RBSP_TRAILING: u8 = 0x80;
/// `emulation_prevention_three_byte`.
const EMULATION_PREVENTION: u8 = 3;
/// Odd and without a pattern: 2^64 divided by the golden ratio.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// NAL units by their first byte, ten bytes each.
    fn payload(heads: &[u8]) -> Bytes {
        let unit = |head: &u8| {
            let mut unit = vec![0, 0, 0, 10, *head];
            unit.extend_from_slice(&[0, 0, 3, 1, 7, 7, 0, 0, 1]);
            unit
        };
        heads.iter().flat_map(unit).collect()
    }

    const CASES: [(Codec, &[u8], usize); 5] = [
        (Codec::H264, &[0x65], 0),
        (Codec::H264, &[9, 0x67, 0x68, 6, 0x65, 0x65], 4 * 14),
        (Codec::H264, &[0x01], 0),
        (Codec::H265, &[35 << 1, 32 << 1, 19 << 1], 2 * 14),
        (Codec::H265, &[1 << 1], 0),
    ];

    #[test]
    fn a_stamp_stands_before_the_first_slice_and_comes_off_without_a_trace() {
        for (codec, heads, at) in CASES {
            let plain = payload(heads);
            let stamped = insert(codec, &plain, 1_700_000_000_123_456, 77);
            let (stamp, place) = locate(codec, &stamped).unwrap();
            assert_eq!(place.start, at, "{heads:?}");
            assert_eq!(stamp.unix_us, 1_700_000_000_123_456);
            assert_eq!(stamp.number, 77);
            let parts = parts(codec, &stamped);
            assert_eq!([parts.before, parts.after].concat(), plain);
            assert_eq!(parts, super::parts(codec, &plain), "{heads:?}");
            assert_eq!(stamp.check, parts.check());
            assert!(is_whole(codec, &stamped));
        }
    }

    #[test]
    fn a_stamp_never_looks_like_a_start_code_and_reads_back() {
        let plain = payload(&[0x65]);
        for shift in 0..64 {
            for (unix_us, number) in [(1 << shift, 0), (0, 1), (u64::MAX >> shift, 0x0000_0300)] {
                let stamped = insert(Codec::H264, &plain, unix_us, number);
                let (stamp, place) = locate(Codec::H264, &stamped).unwrap();
                assert_eq!((stamp.unix_us, stamp.number), (unix_us, number));
                let unit = &stamped[place.start + LENGTH..place.end];
                let starts = |three: &[u8]| three[..2] == [0, 0] && three[2] <= 2;
                assert!(!unit.windows(3).any(starts), "{unit:x?}");
            }
        }
    }

    #[test]
    fn what_has_no_stamp_gives_none() {
        for (codec, heads, _) in CASES {
            assert_eq!(find(codec, &payload(heads)), None);
        }
        let whole = insert(Codec::H264, &payload(&[0x65]), 5, 5);
        let end = locate(Codec::H264, &whole).unwrap().1.end;
        for cut in 0..end {
            assert_eq!(find(Codec::H264, &whole[..cut]), None, "cut at {cut}");
        }
        assert!(find(Codec::H264, &whole[..end]).is_some());
        let aac = Bytes::from_static(&[1, 2, 3]);
        assert_eq!(insert(Codec::Aac, &aac, 1, 1), aac);
        assert_eq!(find(Codec::Aac, &aac), None);
        assert_eq!(parts(Codec::Aac, &aac).after, &aac[..]);
    }

    #[test]
    fn damage_changes_the_check_or_the_shape() {
        let plain = payload(&[0x65, 0x65]);
        let check = |bytes: &[u8]| parts(Codec::H264, bytes).check();
        for at in 0..plain.len() {
            let mut damaged = plain.to_vec();
            damaged[at] ^= 0x10;
            assert_ne!(check(&damaged), check(&plain), "byte {at}");
        }
        assert_ne!(check(&plain[1..]), check(&plain));
        assert!(!is_whole(Codec::H264, &plain[..plain.len() - 1]));
        assert!(!is_whole(Codec::H264, &[0, 0, 0]));
        assert!(is_whole(Codec::Av1, &[1]));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(0..8u8, 0..200)) {
            for codec in [Codec::H264, Codec::H265, Codec::Av1] {
                let bytes = Bytes::from(bytes.clone());
                let parts = parts(codec, &insert(codec, &bytes, 1, 2)).hash();
                prop_assert_eq!(parts, super::parts(codec, &bytes).hash());
                is_whole(codec, &bytes);
            }
        }
    }
}
