//! Configuration records of real encoders, and what is read of them.

use super::*;
use bytes::Buf;
use proptest::prelude::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).unwrap();
        u8::from_str_radix(pair, 16).unwrap()
    };
    digits.chunks(2).map(byte).collect()
}

/// x264, High, 320x180: the height is cropped from 192.
const AVCC_HIGH: &str = "0164000c ffe1001a 6764000cacd941419f9f011000000300100000030320f14299 60
    01000668ebe3cb22c0 fdf8f800";

/// x264, High 4:4:4 Predictive, interlaced, 318x182.
const AVCC_444_INTERLACED: &str =
    "01f40015 ffe1001a 67f40015919b282867b9b011000003000100000300321f142996 01
    000668fba3c44844ff f8f800";

/// x264, Constrained Baseline, 1280x720.
const AVCC_BASELINE: &str =
    "0142c01f ffe10019 6742c01fd9005005bb011000000300100000030320f1832480 01000568cb83cb20";

/// x265, Main 10, 318x182.
const HVCC_MAIN10: &str = "0102200000009000000000003cf000fcfdfafa00000f03 a0 0001 0018
    40010c01ffff02200000030090000003000003003c959809 a1 0001 0029
    42010102200000030090000003000003003ca00a080b9d5365959a4932bc05a02000007d20000ea601 a2 0001
    0007 4401c172b46240";

/// SVT-AV1, Main, 320x180.
const AV1C: &str = "81000c00 0a0b000000043cfecc02f80040";

const OPUS_HEAD: &str = "4f70757348656164 01 02 3801 80bb0000 0000 00";

/// A track with the record of a real encoder.
pub(crate) fn track(codec: Codec) -> TrackConfig {
    let record = match codec {
        Codec::H264 => AVCC_HIGH,
        Codec::H265 => HVCC_MAIN10,
        Codec::Av1 => AV1C,
        Codec::Aac => "119056e500",
        Codec::Opus => OPUS_HEAD,
        _ => "",
    };
    TrackConfig::new(codec, hex(record))
}

fn info(codec: Codec, record: &str) -> Result<Info, Error> {
    TrackConfig::new(codec, hex(record)).info()
}

#[test]
fn records_tell_codec_string_and_size() {
    let check = |codec, record, codec_string: &str, width, height| {
        let info = info(codec, record).unwrap();
        assert_eq!(
            (&*info.codec_string, info.width, info.height),
            (codec_string, width, height)
        );
    };
    check(Codec::H264, AVCC_HIGH, "avc1.64000C", 320, 180);
    check(Codec::H264, AVCC_444_INTERLACED, "avc1.F40015", 318, 182);
    check(Codec::H264, AVCC_BASELINE, "avc1.42C01F", 1280, 720);
    check(Codec::H265, HVCC_MAIN10, "hvc1.2.4.L60.90", 318, 182);
    check(Codec::Av1, AV1C, "av01.0.00M.08", 320, 180);
    check(Codec::Av1, "81680000", "av01.3.08M.08", 0, 0);
    check(Codec::Av1, "8104e000", "av01.0.04H.12", 0, 0);
    check(Codec::Vp9, "", "vp9", 0, 0);
}

#[test]
fn records_tell_sample_rate_and_channels() {
    let check = |codec, record, codec_string: &str, sample_rate, channels| {
        let info = info(codec, record).unwrap();
        assert_eq!(
            (&*info.codec_string, info.sample_rate, info.channels),
            (codec_string, sample_rate, channels)
        );
    };
    check(Codec::Aac, "119056e500", "mp4a.40.2", 48000, 2);
    check(Codec::Aac, "138856e500", "mp4a.40.2", 22050, 1);
    check(Codec::Aac, "2b118800", "mp4a.40.5", 48000, 2); // SBR doubles 24000
    check(Codec::Aac, "1780562208", "mp4a.40.2", 44100, 1); // the rate is written out
    check(Codec::Opus, OPUS_HEAD, "opus", 48000, 2);
}

#[test]
fn bad_records_are_errors() {
    let check = |codec, record, error| assert_eq!(info(codec, record), Err(error));
    for codec in [Codec::H264, Codec::H265, Codec::Av1, Codec::Aac] {
        check(codec, "", Error::Truncated);
    }
    check(
        Codec::H264,
        "0064000cffe10000",
        Error::Invalid("avcC version is not 1"),
    );
    check(
        Codec::H264,
        "0164000cffe00000",
        Error::Invalid("avcC has no sequence parameter set"),
    );
    check(Codec::H264, "0164000cffe10004 6764000c", Error::Truncated);
    check(
        Codec::Av1,
        "01000000",
        Error::Invalid("av1C marker or version"),
    );
    check(Codec::Aac, "0000", Error::Invalid("AAC object type 0"));
    check(
        Codec::Aac,
        "1690",
        Error::Invalid("AAC sampling frequency index"),
    );
    check(Codec::Opus, "4f707573", Error::Invalid("no OpusHead magic"));
    check(Codec::Opus, "4f70757348656164 01", Error::Truncated);
}

#[test]
fn nal_headers_correct_the_kind() {
    let check = |codec: Codec, nal_heads: &[u8], container, expect| {
        let nal = |&head: &u8| [0, 0, 0, 3, head, 1, 0xAA];
        let payload: Vec<u8> = nal_heads.iter().flat_map(nal).collect();
        assert_eq!(
            codec.kind(&payload, container),
            expect,
            "{codec:?} {nal_heads:02x?}"
        );
    };
    use Kind::{Disposable, Key, Reference};
    check(Codec::H264, &[0x67, 0x68, 0x65], Reference, Key);
    check(Codec::H264, &[0x06, 0x41], Reference, Reference);
    check(Codec::H264, &[0x06, 0x01], Reference, Disposable);
    check(Codec::H264, &[0x01, 0x21], Reference, Reference); // one slice is referred to
    check(Codec::H264, &[0x41], Disposable, Disposable); // the container says so
    check(Codec::H264, &[0x06, 0x41], Key, Key); // open GOP: a recovery point, no IDR
    check(Codec::H264, &[0x06], Reference, Reference);
    check(Codec::H265, &[0x40, 0x42, 0x44, 0x26], Reference, Key); // IDR_W_RADL
    check(Codec::H265, &[0x2A], Reference, Key); // CRA
    check(Codec::H265, &[0x02], Reference, Reference); // TRAIL_R
    check(Codec::H265, &[0x4E, 0x00], Reference, Disposable); // TRAIL_N behind an SEI
    check(Codec::H265, &[0x10], Reference, Disposable); // RASL_N
    check(Codec::Av1, &[0x12], Key, Key);
    check(Codec::Av1, &[0x12], Reference, Reference);
}

#[test]
fn kind_believes_the_container_where_lengths_do_not_fit() {
    for payload in [
        &[][..],
        &[0],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x65],
        &[0, 0, 0, 9, 0x65],
        &[0; 64],
    ] {
        for codec in [Codec::H264, Codec::H265] {
            assert_eq!(codec.kind(payload, Kind::Reference), Kind::Reference);
        }
    }
}

#[test]
fn fourccs_and_names_are_each_others_inverse() {
    for (codec, fourcc, name) in TABLE {
        assert_eq!(Codec::from_fourcc(fourcc), Some(codec));
        assert_eq!((codec.fourcc(), codec.name()), (fourcc, name));
    }
    assert_eq!(Codec::from_fourcc(*b"XVID"), None);
}

#[test]
fn catalog_decodes_what_it_encoded_and_leaves_the_rest() {
    let catalog = Catalog {
        tracks: vec![
            TrackConfig::new(Codec::H264, hex(AVCC_HIGH)),
            TrackConfig::new(Codec::Mp3, Bytes::new()),
        ],
        frame_rate: Some(29.97),
    };
    let mut out = Vec::new();
    catalog.encode(&mut out);
    out.extend(b"rest");
    let mut encoded = &out[..];
    assert_eq!(Catalog::decode(&mut encoded), Ok(catalog));
    assert_eq!(encoded, b"rest");
}

#[test]
fn catalog_refuses_what_it_would_not_encode() {
    let check = |count: u8, track: &[u8], error| {
        let blob = [&[0; 8][..], &[count], track].concat();
        assert_eq!(Catalog::decode(&mut &blob[..]), Err(error));
    };
    check(17, &[], Error::TooLarge("tracks"));
    check(1, b"\x00avc1\x40\x01", Error::TooLarge("record"));
    check(1, b"\x00XVID\x00\x00", Error::Invalid("unknown codec"));
    check(1, b"\x00avc1\x00\x01", Error::Truncated);
    check(
        2,
        b"\x00avc1\x00\x00\x00hvc1\x00\x00",
        Error::Invalid("two tracks of one id"),
    );
}

#[test]
fn catalog_says_whether_a_track_changed() {
    let mut catalog = Catalog::default();
    let track = TrackConfig::new(Codec::Aac, hex("1190"));
    assert!(catalog.set(track.clone()));
    assert!(!catalog.set(track));
    assert!(catalog.set(TrackConfig::new(Codec::Opus, hex(OPUS_HEAD))));
    assert_eq!(catalog.tracks.len(), 1);
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(TABLE.map(|row| row.0).to_vec())
}

proptest! {
    #[test]
    fn any_record_and_payload_is_read_without_panic(
        codec in codecs(),
        record in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = codec.kind(&record, Kind::Reference);
        let _ = TrackConfig::new(codec, record.into()).info();
    }

    #[test]
    fn a_damaged_record_is_read_without_panic(
        case in prop::sample::select(vec![
            (Codec::H264, AVCC_HIGH),
            (Codec::H264, AVCC_444_INTERLACED),
            (Codec::H265, HVCC_MAIN10),
            (Codec::Av1, AV1C),
            (Codec::Aac, "119056e500"),
            (Codec::Opus, OPUS_HEAD),
        ]),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut record = hex(case.1).to_vec();
        let place = at.index(record.len());
        record[place] = value;
        record.truncate(length.index(record.len() + 1));
        if let Ok(info) = TrackConfig::new(case.0, record.into()).info() {
            prop_assert!(info.width <= 65536 && info.height <= 65536);
        }
    }

    #[test]
    fn any_catalog_blob_is_read_without_panic(blob in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut rest = &blob[..];
        if let Ok(catalog) = Catalog::decode(&mut rest) {
            let mut out = Vec::new();
            catalog.encode(&mut out);
            prop_assert_eq!(out.len(), blob.len() - rest.remaining());
        }
    }
}

#[test]
fn packets_of_sound_say_how_long_they_last() {
    let check = |codec, record: &str, packet: &[u8], expect| {
        let record = if codec == Codec::Opus {
            OPUS_HEAD
        } else {
            record
        };
        let samples = TrackConfig::new(codec, hex(record)).samples(packet);
        assert_eq!(samples, expect, "{codec:?} {record} {packet:02x?}");
    };
    check(Codec::Aac, "1190", b"", Some(1024));
    check(Codec::Aac, "1194", b"", Some(960)); // frameLengthFlag
    check(Codec::Aac, "119056e500", b"", Some(1024)); // implicit SBR: the core's rate
    check(Codec::Aac, "2b11 88 00", b"", Some(2048)); // SBR said first, 24 kHz and 48 kHz
    check(Codec::Aac, "b990 00", b"", Some(512)); // AAC-LD
    check(Codec::Aac, "", b"", None);
    check(Codec::Opus, "", &[0x00, 1], Some(480)); // SILK, 10 ms
    check(Codec::Opus, "", &[0x18], Some(2880)); // SILK, 60 ms
    check(Codec::Opus, "", &[0x68], Some(960)); // hybrid, 20 ms
    check(Codec::Opus, "", &[0xfc], Some(960)); // CELT, 20 ms
    check(Codec::Opus, "", &[0xfd], Some(1920)); // two of them
    check(Codec::Opus, "", &[0xe3, 0x85], Some(600)); // five of 2.5 ms, VBR
    check(Codec::Opus, "", &[0xe3], None);
    check(Codec::Opus, "", &[0x1b, 3], None); // 180 ms
    check(Codec::Opus, "", b"", None);
    check(Codec::Mp3, "", b"x", None);
}
