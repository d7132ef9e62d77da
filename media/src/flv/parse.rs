//! Hot: the body of one tag or RTMP media message to an event.
//!
//! Of multitrack messages the track with id 0, which the specification
//! makes the default, is carried on; others are ignored by name. Every
//! length is checked against the body before it is used.

use super::tag::{self, codec_id, frame_type, legacy, packet, sound};
use super::{Error, Event, Metadata};
use crate::amf::{self, Value};
use crate::codec::{Codec, TrackConfig};
use crate::frame::{Frame, Kind};
use crate::timestamp::Timestamp;
use bytes::{Buf, Bytes};

/// Reads one body; `tag_type` is one of `tag::{AUDIO,
/// VIDEO, SCRIPT}`. Payloads are slices of `body`.
pub fn parse(tag_type: u8, dts: Timestamp, body: Bytes) -> Result<Event, Error> {
    if body.len() > MAX_BODY {
        return Err(Error::TooLarge("message"));
    }
    match tag_type {
        _ if body.is_empty() => Ok(Event::Ignored("empty message")),
        tag::AUDIO => audio(dts, body),
        tag::VIDEO => video(dts, body),
        tag::SCRIPT => script(body),
        other => Err(Error::TagType(other)),
    }
}

fn video(dts: Timestamp, mut body: Bytes) -> Result<Event, Error> {
    let flags = u8(&mut body)?;
    let frame_type = flags >> 4 & 7;
    let kind = match frame_type {
        frame_type::KEY | frame_type::GENERATED_KEY => Kind::Key,
        frame_type::DISPOSABLE => Kind::Disposable,
        _ => Kind::Reference,
    };
    if flags & 0x80 != 0 {
        let ex = Enhanced::read(tag::VIDEO, flags & 0xF, dts, &mut body)?;
        if frame_type == frame_type::COMMAND && ex.packet != packet::METADATA {
            return Ok(Event::Ignored("video command"));
        }
        return match ex.track(&mut body)? {
            Some(codec) => enhanced_video(ex, codec, kind, body),
            None => Ok(Event::Ignored(OTHER_TRACK)),
        };
    }
    if frame_type == frame_type::COMMAND {
        return Ok(Event::Ignored("video command"));
    }
    let codec = match flags & 0xF {
        codec_id::AVC => Codec::H264,
        codec_id::HEVC => Codec::H265,
        other => return Err(Error::VideoCodec(other)),
    };
    let packet_type = u8(&mut body)?;
    let cts = composition(&mut body)?;
    match packet_type {
        legacy::SEQUENCE_HEADER => config(codec, body),
        legacy::CODED => Coded {
            codec,
            kind,
            dts,
            cts,
        }
        .event(body),
        legacy::END => Ok(Event::EndOfSequence(codec.track())),
        _ => Ok(Event::Ignored("unknown video packet type")),
    }
}

fn enhanced_video(ex: Enhanced, codec: Codec, kind: Kind, mut body: Bytes) -> Result<Event, Error> {
    let coded = |cts| Coded {
        codec,
        kind,
        dts: ex.dts,
        cts,
    };
    match ex.packet {
        packet::SEQUENCE_START => config(codec, body),
        packet::CODED_FRAMES if codec.reorders() => {
            let cts = composition(&mut body)?;
            coded(cts).event(body)
        }
        packet::CODED_FRAMES | packet::CODED_FRAMES_X => coded(Timestamp::ZERO).event(body),
        packet::SEQUENCE_END => Ok(Event::EndOfSequence(codec.track())),
        packet::METADATA => Ok(Event::Ignored("video metadata")),
        packet::MPEG2TS_SEQUENCE_START => Ok(Event::Ignored("MPEG-2 TS sequence start")),
        _ => Ok(Event::Ignored("unknown video packet type")),
    }
}

fn audio(dts: Timestamp, mut body: Bytes) -> Result<Event, Error> {
    let flags = u8(&mut body)?;
    let coded = |codec| Coded {
        codec,
        kind: Kind::Key,
        dts,
        cts: Timestamp::ZERO,
    };
    match flags >> 4 {
        sound::ENHANCED => {
            let ex = Enhanced::read(tag::AUDIO, flags & 0xF, dts, &mut body)?;
            match ex.track(&mut body)? {
                Some(codec) => enhanced_audio(ex, codec, body),
                None => Ok(Event::Ignored(OTHER_TRACK)),
            }
        }
        sound::AAC => match u8(&mut body)? {
            legacy::SEQUENCE_HEADER => config(Codec::Aac, body),
            _ => coded(Codec::Aac).event(body),
        },
        sound::MP3 | sound::MP3_8K => coded(Codec::Mp3).event(body),
        other => Err(Error::SoundFormat(other)),
    }
}

fn enhanced_audio(ex: Enhanced, codec: Codec, body: Bytes) -> Result<Event, Error> {
    match ex.packet {
        packet::SEQUENCE_START => config(codec, body),
        packet::CODED_FRAMES => {
            let coded = Coded {
                codec,
                kind: Kind::Key,
                dts: ex.dts,
                cts: Timestamp::ZERO,
            };
            coded.event(body)
        }
        packet::SEQUENCE_END => Ok(Event::EndOfSequence(codec.track())),
        packet::MULTICHANNEL_CONFIG => Ok(Event::Ignored("multichannel configuration")),
        _ => Ok(Event::Ignored("unknown audio packet type")),
    }
}

/// `onMetaData`, alone or behind RTMP's `@setDataFrame`; anything else by its name.
fn script(mut body: Bytes) -> Result<Event, Error> {
    let mut name = amf::decode(&mut body)?;
    if name.as_str() == Some("@setDataFrame") {
        name = amf::decode(&mut body)?;
    }
    let Value::String(name) = name else {
        return Ok(Event::Ignored("script without a name"));
    };
    if name != "onMetaData" {
        return Ok(Event::Script(name));
    }
    let value = if body.has_remaining() {
        amf::decode(&mut body)?
    } else {
        Value::Null
    };
    Ok(Event::Metadata(Metadata::read(&value)))
}

/// The part of an enhanced header that sound and pictures share.
struct Enhanced {
    tag_type: u8,
    packet: u8,
    dts: Timestamp,
    /// AvMultitrackType, when the message holds tracks.
    multitrack: Option<u8>,
}

impl Enhanced {
    /// Past the ModEx prelude and the multitrack byte, up to the FourCC.
    fn read(tag_type: u8, first: u8, dts: Timestamp, body: &mut Bytes) -> Result<Self, Error> {
        let mut ex = Self {
            tag_type,
            packet: first,
            dts,
            multitrack: None,
        };
        while ex.packet == packet::MOD_EX {
            let mut size = usize::from(u8(body)?) + 1;
            if size == 256 {
                size = usize::from(body.try_get_u16().map_err(|_| TRUNCATED)?) + 1;
            }
            let data = take(body, size)?;
            let next = u8(body)?;
            ex.packet = next & 0xF;
            if let (TIMESTAMP_OFFSET_NANO, [a, b, c, ..]) = (next >> 4, &data[..]) {
                let nanos = u32::from_be_bytes([0, *a, *b, *c]);
                ex.dts = dts + Timestamp::from_micros(i64::from(nanos) / 1000);
            }
        }
        let multitrack = match tag_type {
            tag::VIDEO => packet::VIDEO_MULTITRACK,
            _ => packet::AUDIO_MULTITRACK,
        };
        if ex.packet == multitrack {
            let next = u8(body)?;
            ex.multitrack = Some(next >> 4);
            ex.packet = next & 0xF;
        }
        Ok(ex)
    }

    /// The codec of the default track, `body` then being that
    /// track's bytes alone; none if only others are there.
    fn track(&self, body: &mut Bytes) -> Result<Option<Codec>, Error> {
        let Some(multitrack) = self.multitrack else {
            return self.codec(fourcc(body)?).map(Some);
        };
        let shared = match multitrack {
            MANY_TRACKS_MANY_CODECS => None,
            _ => Some(fourcc(body)?),
        };
        while body.has_remaining() {
            let fourcc = shared.map_or_else(|| fourcc(body), Ok)?;
            let id = u8(body)?;
            let size = if multitrack == ONE_TRACK {
                body.len()
            } else {
                u24(body)? as usize
            };
            let data = take(body, size)?;
            if id == DEFAULT_TRACK {
                *body = data;
                return self.codec(fourcc).map(Some);
            }
        }
        Ok(None)
    }

    /// A FourCC that names a codec of this message's kind of track.
    fn codec(&self, fourcc: [u8; 4]) -> Result<Codec, Error> {
        Codec::from_fourcc(fourcc)
            .filter(|codec| codec.is_video() == (self.tag_type == tag::VIDEO))
            .ok_or(Error::FourCc(fourcc))
    }
}

/// All of a frame but its payload.
struct Coded {
    codec: Codec,
    kind: Kind,
    dts: Timestamp,
    cts: Timestamp,
}

impl Coded {
    fn event(self, payload: Bytes) -> Result<Event, Error> {
        if payload.is_empty() {
            return Ok(Event::Ignored("empty frame"));
        }
        if payload.len() > Frame::MAX_PAYLOAD {
            return Err(Error::TooLarge("frame"));
        }
        let Self {
            codec,
            kind,
            dts,
            cts,
        } = self;
        let kind = codec.kind(&payload, kind);
        let track = codec.track();
        let frame = Frame {
            track,
            kind,
            dts,
            cts,
            duration: None,
            payload,
        };
        Ok(Event::Frame(codec, frame))
    }
}

fn config(codec: Codec, record: Bytes) -> Result<Event, Error> {
    if record.len() > TrackConfig::MAX_RECORD {
        return Err(Error::TooLarge("sequence header"));
    }
    if record.is_empty() && codec.needs_record() {
        return Err(Error::Truncated("sequence header"));
    }
    Ok(Event::Config(TrackConfig::new(codec, record)))
}

/// SI24 milliseconds.
fn composition(body: &mut Bytes) -> Result<Timestamp, Error> {
    let ms = u24(body)?;
    let signed = ((ms << 8) as i32) >> 8;
    Ok(Timestamp::from_millis(i64::from(signed)))
}

fn fourcc(body: &mut Bytes) -> Result<[u8; 4], Error> {
    let mut fourcc = [0; 4];
    body.try_copy_to_slice(&mut fourcc).map_err(|_| TRUNCATED)?;
    Ok(fourcc)
}

fn take(body: &mut Bytes, size: usize) -> Result<Bytes, Error> {
    if body.len() < size {
        return Err(TRUNCATED);
    }
    Ok(body.split_to(size))
}

fn u8(body: &mut Bytes) -> Result<u8, Error> {
    body.try_get_u8().map_err(|_| TRUNCATED)
}

fn u24(body: &mut Bytes) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    body.try_copy_to_slice(&mut bytes[1..])
        .map_err(|_| TRUNCATED)?;
    Ok(u32::from_be_bytes(bytes))
}

/// The longest body: a payload and every head before it.
pub(super) const MAX_BODY: usize = Frame::MAX_PAYLOAD + 1024;

const TRUNCATED: Error = Error::Truncated("message");
const OTHER_TRACK: &str = "multitrack: only track 0 is carried";

/// VideoPacketModExType and AudioPacketModExType.
const TIMESTAMP_OFFSET_NANO: u8 = 0;

/// AvMultitrackType.
const ONE_TRACK: u8 = 0;
const MANY_TRACKS_MANY_CODECS: u8 = 2;

/// The track of highest priority (Enhanced RTMP v2, "trackId").
const DEFAULT_TRACK: u8 = 0;

#[cfg(test)]
mod tests;
