//! Boxes made by hand, and the frames that must come of them.

use super::*;
use proptest::prelude::*;

fn boxed(name: &str, body: &[u8]) -> Vec<u8> {
    let size = (body.len() + HEADER) as u32;
    [&size.to_be_bytes(), name.as_bytes(), body].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn trak(id: u32, timescale: u32, codec: &str) -> Vec<u8> {
    let stsd = [words(&[0, 1, 8]), codec.as_bytes().to_vec()].concat();
    let stbl = boxed("stbl", &boxed("stsd", &stsd));
    let mdhd = boxed("mdhd", &words(&[0, 0, 0, timescale, 0, 0]));
    let mdia = boxed("mdia", &[mdhd, boxed("minf", &stbl)].concat());
    boxed(
        "trak",
        &[boxed("tkhd", &words(&[0, 0, 0, id])), mdia].concat(),
    )
}

fn init() -> Bytes {
    let moov = [trak(1, 90_000, "avc1"), trak(2, 48_000, "Opus")].concat();
    [boxed("ftyp", b"iso6"), boxed("moov", &moov)]
        .concat()
        .into()
}

/// A key picture of 3 bytes, another of 2 shown late, and a sound of 1: 40 ms, 40 ms, 20 ms.
fn part() -> Vec<u8> {
    let tfdt = |time: u32| boxed("tfdt", &words(&[0x0100_0000, 0, time]));
    let moof = |offset: u32| {
        let tfhd = boxed("tfhd", &words(&[0x2_0000 | 0x28, 1, 3600, NON_SYNC]));
        let runs = words(&[
            0x0100_0A05,
            2,
            offset,
            0,
            3,
            0,
            2,
            (-1800_i32).cast_unsigned(),
        ]);
        let video = [tfhd, tfdt(9000), boxed("trun", &runs)].concat();
        let tfhd = boxed("tfhd", &words(&[0x2_0000, 2]));
        let runs = words(&[0x301, 1, offset + 5, 960, 1]);
        let audio = [tfhd, tfdt(4800), boxed("trun", &runs)].concat();
        let mfhd = boxed("mfhd", &words(&[0, 77]));
        boxed(
            "moof",
            &[mfhd, boxed("traf", &video), boxed("traf", &audio)].concat(),
        )
    };
    let offset = moof(0).len() + HEADER;
    [
        boxed("styp", b"cmfs"),
        moof(offset as u32),
        boxed("mdat", b"keypis"),
    ]
    .concat()
}

#[test]
fn a_part_is_its_frames() {
    let init = Init::read(&init()).unwrap();
    let fragments = init.fragments(&part().into()).unwrap();
    let [fragment] = &fragments[..] else {
        panic!("one fragment")
    };
    assert_eq!(fragment.sequence, 77);
    let spans = [(Codec::H264, 9000..16_200), (Codec::Opus, 4800..5760)];
    assert_eq!(fragment.spans, spans);
    let seen: Vec<_> = fragment
        .samples
        .iter()
        .map(|it| {
            let (dts, cts) = (it.dts.as_millis(), it.cts.as_millis());
            (it.codec, it.is_key, dts, cts, &it.payload[..])
        })
        .collect();
    let expect: [(_, _, _, _, &[u8]); 3] = [
        (Codec::H264, true, 100, 0, b"key"),
        (Codec::H264, false, 140, -20, b"pi"),
        (Codec::Opus, true, 100, 0, b"s"),
    ];
    assert_eq!(seen, expect);
}

#[test]
fn a_segment_is_its_parts_one_after_the_other() {
    let init = Init::read(&init()).unwrap();
    let segment = [part(), part()].concat();
    assert_eq!(init.fragments(&segment.into()).unwrap().len(), 2);
}

#[test]
fn damage_is_told_by_where_it_is() {
    let init = Init::read(&init()).unwrap();
    let whole = part();
    let end = whole.len();
    let told = |bytes: &[u8]| init.fragments(&bytes.to_vec().into()).unwrap_err();
    assert_eq!(told(b""), Error::Missing("moof"));
    assert_eq!(told(&whole[..end - 1]), Error::Broken("box"));
    assert_eq!(told(&whole[..end - 14]), Error::Missing("mdat"));
    let mut longer = whole[..end - 14].to_vec();
    longer.extend(boxed("mdat", b"keypis!"));
    assert_eq!(told(&longer), Error::Size);
    let mut shorter = whole[..end - 14].to_vec();
    shorter.extend(boxed("mdat", b"keypi"));
    assert_eq!(told(&shorter), Error::Size);
    assert_eq!(Init::read(&Bytes::new()), Err(Error::Missing("ftyp")));
}

proptest! {
    #[test]
    fn garbage_never_panics(at in 0..300_usize, byte: u8, cut in 0..300_usize) {
        let mut bytes = part();
        if let Some(there) = bytes.get_mut(at) {
            *there = byte;
        }
        bytes.truncate(bytes.len().max(cut) - cut / 2);
        let _ = Init::read(&init()).unwrap().fragments(&bytes.into());
        let mut bytes = init().to_vec();
        if let Some(there) = bytes.get_mut(at) {
            *there = byte;
        }
        let _ = Init::read(&bytes.into());
    }
}
