//! Sans-IO: the HLS multivariant playlist (draft-pantos-hls-rfc8216bis, section 4.4.6), from what a
//! stream's record tells.
//!
//! Schedulers and edges write the same text by it. Audio and video of a stream are muxed, so each
//! rung is one variant without renditions. Media playlists are not here.

use std::fmt;

use crate::node::NodeId;
use crate::stream::{StreamKey, StreamRecord, TrackRecord};

/// A multivariant playlist; its text is its [`Display`](fmt::Display).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multivariant {
    /// The variants, best first: players begin with the first until they have measured.
    pub variants: Vec<Variant>,
    /// Where the player asks which pathway to use, if it can be steered.
    pub steering: Option<Steering>,
    /// Whether every segment of every variant begins with a key frame.
    pub independent_segments: bool,
}

/// Content steering (section 4.4.6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    /// The steering manifest, relative to the playlist or absolute.
    pub server_uri: String,
    /// The pathway of all the playlist's variants: an edge.
    pub pathway: NodeId,
}

/// One rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its media playlist.
    pub uri: String,
    /// The same for this rung in every playlist: its stream's key.
    pub stable_id: String,
    /// RFC 6381 texts of all tracks with commas between; empty when one is unknown.
    pub codecs: String,
    /// Pixels; 0 without video.
    pub width: u32,
    /// Pixels; 0 without video.
    pub height: u32,
    /// Frames in a thousand seconds; 0 when unknown.
    pub frame_rate_milli: u32,
    /// Bits per second of the busiest segment.
    pub bandwidth_bps: u64,
    /// Bits per second over many segments; 0 when unknown.
    pub average_bps: u64,
}

impl Variant {
    /// The variant of a stream on air, found at that address. Until a segment has been measured
    /// the bit rate of the last seconds stands for the peak, and before that one is measured a
    /// guess from the picture's size, so that players do not take it for a tiny one.
    pub fn of(record: &StreamRecord, uri: String) -> Self {
        let video = record.tracks.iter().find(|track| track.width > 0);
        let texts = || {
            record
                .tracks
                .iter()
                .map(|track| track.codec_string.as_str())
        };
        let codecs = if texts().any(str::is_empty) {
            String::new()
        } else {
            texts().collect::<Vec<_>>().join(",")
        };
        let average_bps = match record.bitrate_bps {
            0 => 0,
            bps => bps + CONTAINER_BPS,
        };
        let peak_bps = match record.peak_bps.max(record.bitrate_bps) {
            0 => video.map_or(GUESSED_SOUND_BPS, guessed_bps),
            bps => bps,
        };
        Self {
            uri,
            stable_id: stable_id(&record.key),
            codecs,
            width: video.map_or(0, |track| track.width),
            height: video.map_or(0, |track| track.height),
            frame_rate_milli: video.map_or(0, |track| track.frame_rate_milli),
            bandwidth_bps: peak_bps + CONTAINER_BPS,
            average_bps,
        }
    }
}

/// The `STABLE-VARIANT-ID` of a stream: a key has no character that it may not have.
pub fn stable_id(key: &StreamKey) -> String {
    key.as_str().to_owned()
}

/// What fMP4 adds to the frames that an origin measures: a sample's entry is 12 to 16 bytes and a
/// part's head about 200, so 30 pictures and 47 frames of sound a second in parts of 400 ms come to
/// 14 kbit/s.
const CONTAINER_BPS: u64 = 16_000;

/// A tenth of a bit for each pixel is what encoders of live pictures usually spend.
fn guessed_bps(video: &TrackRecord) -> u64 {
    let frame_rate_milli = match video.frame_rate_milli {
        0 => 30_000,
        known => u64::from(known),
    };
    let pixels = u64::from(video.width) * u64::from(video.height);
    GUESSED_SOUND_BPS + pixels.saturating_mul(frame_rate_milli) / 10_000
}

/// Sound with or without pictures, until it is measured.
const GUESSED_SOUND_BPS: u64 = 128_000;

/// The lowest that tells old players of fMP4 (section 8); nothing here needs a higher one.
const VERSION: u32 = 6;

impl fmt::Display for Multivariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "#EXTM3U\n#EXT-X-VERSION:{VERSION}")?;
        if self.independent_segments {
            writeln!(f, "#EXT-X-INDEPENDENT-SEGMENTS")?;
        }
        if let Some(Steering {
            server_uri,
            pathway,
        }) = &self.steering
        {
            writeln!(
                f,
                "#EXT-X-CONTENT-STEERING:SERVER-URI=\"{}\",PATHWAY-ID=\"{pathway}\"",
                Quoted(server_uri)
            )?;
        }
        let pathway = self.steering.as_ref().map(|steering| &steering.pathway);
        self.variants
            .iter()
            .try_for_each(|variant| variant.write(f, pathway))
    }
}

impl Variant {
    /// `EXT-X-STREAM-INF` (section 4.4.6.2) and the address below it.
    fn write(&self, f: &mut fmt::Formatter<'_>, pathway: Option<&NodeId>) -> fmt::Result {
        write!(f, "#EXT-X-STREAM-INF:BANDWIDTH={}", self.bandwidth_bps)?;
        if self.average_bps > 0 {
            write!(f, ",AVERAGE-BANDWIDTH={}", self.average_bps)?;
        }
        if !self.codecs.is_empty() {
            write!(f, ",CODECS=\"{}\"", Quoted(&self.codecs))?;
        }
        if self.width > 0 && self.height > 0 {
            write!(f, ",RESOLUTION={}x{}", self.width, self.height)?;
        }
        if self.frame_rate_milli > 0 {
            let (whole, thousandths) = (self.frame_rate_milli / 1000, self.frame_rate_milli % 1000);
            write!(f, ",FRAME-RATE={whole}.{thousandths:03}")?;
        }
        if let Some(pathway) = pathway {
            write!(f, ",PATHWAY-ID=\"{pathway}\"")?;
        }
        write!(f, ",STABLE-VARIANT-ID=\"{}\"", Quoted(&self.stable_id))?;
        writeln!(f, "\n{}", Quoted(&self.uri))
    }
}

/// A text without what a quoted string or a line cannot have (section 4.2).
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.split(|c: char| c == '"' || c.is_control());
        parts.into_iter().try_for_each(|part| f.write_str(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(width: u32, height: u32, frame_rate_milli: u32) -> TrackRecord {
        TrackRecord {
            codec: "h264".into(),
            codec_string: "avc1.64001f".into(),
            width,
            height,
            frame_rate_milli,
            sample_rate: 0,
        }
    }

    fn audio(codec_string: &str) -> TrackRecord {
        TrackRecord {
            codec: "aac".into(),
            codec_string: codec_string.into(),
            width: 0,
            height: 0,
            frame_rate_milli: 0,
            sample_rate: 48_000,
        }
    }

    fn record(tracks: Vec<TrackRecord>, bitrate_bps: u64, peak_bps: u64) -> StreamRecord {
        StreamRecord {
            key: StreamKey::parse("live/x_480").unwrap(),
            origin: NodeId::parse("origin").unwrap(),
            epoch: 1,
            started_ms: 0,
            tracks,
            bitrate_bps,
            peak_bps,
            publisher: String::new(),
        }
    }

    #[test]
    fn a_variant_says_what_its_stream_is() {
        let aac = || audio("mp4a.40.2");
        let rows = [
            (
                record(vec![video(1280, 720, 29_970), aac()], 2_000_000, 3_000_000),
                "BANDWIDTH=3016000,AVERAGE-BANDWIDTH=2016000,CODECS=\"avc1.64001f,mp4a.40.2\",\
                 RESOLUTION=1280x720,FRAME-RATE=29.970,STABLE-VARIANT-ID=\"live/x_480\"",
            ),
            (
                record(vec![aac()], 64_000, 0),
                "BANDWIDTH=80000,AVERAGE-BANDWIDTH=80000,CODECS=\"mp4a.40.2\",\
                 STABLE-VARIANT-ID=\"live/x_480\"",
            ),
            (
                record(vec![video(640, 360, 25_000), audio("")], 0, 0),
                "BANDWIDTH=720000,RESOLUTION=640x360,FRAME-RATE=25.000,\
                 STABLE-VARIANT-ID=\"live/x_480\"",
            ),
        ];
        for (record, expect) in rows {
            let playlist = Multivariant {
                variants: vec![Variant::of(&record, "x/media.m3u8".into())],
                steering: None,
                independent_segments: false,
            };
            let expect =
                format!("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-STREAM-INF:{expect}\nx/media.m3u8\n");
            assert_eq!(playlist.to_string(), expect);
        }
    }

    #[test]
    fn a_steered_playlist_names_its_pathway_on_each_variant() {
        let record = record(vec![video(640, 360, 0)], 1_000_000, 0);
        let playlist = Multivariant {
            variants: vec![
                Variant::of(&record, "a".into()),
                Variant::of(&record, "b".into()),
            ],
            steering: Some(Steering {
                server_uri: "/steering/live/x?session=S".into(),
                pathway: NodeId::parse("edge-a").unwrap(),
            }),
            independent_segments: true,
        };
        let text = playlist.to_string();
        assert!(text.contains("\n#EXT-X-INDEPENDENT-SEGMENTS\n"), "{text}");
        assert!(
            text.contains(
                "\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"/steering/live/x?session=S\",\
                 PATHWAY-ID=\"edge-a\"\n"
            ),
            "{text}"
        );
        assert_eq!(
            text.matches(",PATHWAY-ID=\"edge-a\",STABLE-VARIANT-ID=")
                .count(),
            2
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_adds_a_line_or_ends_a_quoted_string(text in "\\PC{0,20}[\"\r\n]\\PC{0,20}") {
            let mut variant = Variant::of(&record(vec![], 1, 1), text.clone());
            (variant.codecs, variant.stable_id) = (text.clone(), text);
            let (variants, steering) = (vec![variant], None);
            let playlist = Multivariant { variants, steering, independent_segments: false };
            let text = playlist.to_string();
            proptest::prop_assert_eq!(text.matches('\n').count(), 4);
            proptest::prop_assert!(text.matches('"').count() <= 4);
        }
    }
}
