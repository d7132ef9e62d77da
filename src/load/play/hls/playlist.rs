//! Sans-IO: HLS playlists as a player reads them (rfc8216bis 4), as far as a viewer of ours needs.
//!
//! Leaves out what our edges never write: encryption, byte ranges, alternate renditions.

use std::time::Duration;

/// One of the two kinds (4).
#[derive(Clone, Debug, PartialEq)]
pub enum Playlist {
    /// Names media playlists.
    Multivariant(Multivariant),
    /// Names media.
    Media(Media),
}

/// A multivariant playlist (4.4.6).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Multivariant {
    /// The variants, in their order.
    pub variants: Vec<Variant>,
    /// Where to ask for the order of pathways.
    pub steering: Option<String>,
}

/// EXT-X-STREAM-INF (4.4.6.2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// The media playlist.
    pub uri: String,
    /// STABLE-VARIANT-ID: the same at every pathway.
    pub stable_id: String,
    /// PATHWAY-ID.
    pub pathway: String,
}

/// A media playlist, whole or a delta update (4.4.3 to 4.4.5).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// EXT-X-TARGETDURATION.
    pub target: Duration,
    /// PART-TARGET: there are parts.
    pub part_target: Option<Duration>,
    /// CAN-BLOCK-RELOAD.
    pub blocks: bool,
    /// CAN-SKIP-UNTIL: delta updates can be asked for.
    pub skips: bool,
    /// PART-HOLD-BACK.
    pub part_hold_back: Duration,
    /// The number of the first segment that is listed.
    pub first: u64,
    /// The segments that are listed; the last one may be in the making.
    pub segments: Vec<Segment>,
    /// EXT-X-ENDLIST.
    pub ended: bool,
}

/// A segment, perhaps one in the making.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    /// Where it is; nothing while it is in the making.
    pub uri: Option<String>,
    /// EXTINF.
    pub duration: Duration,
    /// The parts that are listed.
    pub parts: Vec<Part>,
    /// EXT-X-MAP, where it stands before this segment.
    pub map: Option<String>,
    /// EXT-X-DISCONTINUITY.
    pub discontinuity: bool,
}

/// EXT-X-PART (4.4.4.9).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Where it is.
    pub uri: String,
    /// DURATION.
    pub duration: Duration,
    /// INDEPENDENT: decoding can start here.
    pub independent: bool,
}

/// What is no playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first line is another.
    #[error("the answer is no playlist")]
    NoPlaylist,
    /// A tag lacks what it must have, or says it wrongly.
    #[error("a playlist has a broken {0}")]
    Tag(&'static str),
}

/// Reads a playlist.
pub fn parse(text: &str) -> Result<Playlist, Error> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next() != Some("#EXTM3U") {
        return Err(Error::NoPlaylist);
    }
    match text.contains("\n#EXT-X-STREAM-INF:") {
        true => multivariant(lines).map(Playlist::Multivariant),
        false => media(lines).map(Playlist::Media),
    }
}

fn multivariant<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Multivariant, Error> {
    let mut made = Multivariant::default();
    let mut pending = None;
    for line in lines {
        if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            let said = |name| attribute(list, name).unwrap_or_default().to_owned();
            pending = Some((said("STABLE-VARIANT-ID"), said("PATHWAY-ID")));
        } else if let Some(list) = line.strip_prefix("#EXT-X-CONTENT-STEERING:") {
            let uri = attribute(list, "SERVER-URI").ok_or(Error::Tag("EXT-X-CONTENT-STEERING"))?;
            made.steering = Some(uri.into());
        } else if !line.starts_with('#')
            && let Some((stable_id, pathway)) = pending.take()
        {
            made.variants.push(Variant {
                uri: line.into(),
                stable_id,
                pathway,
            });
        }
    }
    if made.variants.is_empty() {
        return Err(Error::Tag("EXT-X-STREAM-INF"));
    }
    Ok(made)
}

fn media<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Media, Error> {
    let mut made = Media::default();
    let mut next = Segment::default();
    let mut skipped = 0;
    for line in lines {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-TARGETDURATION" => made.target = seconds(value, "EXT-X-TARGETDURATION")?,
            "#EXT-X-SERVER-CONTROL" => control(&mut made, value)?,
            "#EXT-X-PART-INF" => {
                let target = attribute(value, "PART-TARGET").unwrap_or_default();
                made.part_target = Some(seconds(target, "EXT-X-PART-INF")?);
            }
            "#EXT-X-MEDIA-SEQUENCE" => made.first = number(value, "EXT-X-MEDIA-SEQUENCE")?,
            "#EXT-X-SKIP" => {
                let count = attribute(value, "SKIPPED-SEGMENTS").unwrap_or_default();
                skipped = number(count, "EXT-X-SKIP")?;
            }
            "#EXT-X-MAP" => {
                let uri = attribute(value, "URI").ok_or(Error::Tag("EXT-X-MAP"))?;
                next.map = Some(uri.into());
            }
            "#EXT-X-DISCONTINUITY" => next.discontinuity = true,
            "#EXT-X-PART" => next.parts.push(part(value)?),
            "#EXTINF" => {
                let (duration, _) = value.split_once(',').unwrap_or((value, ""));
                next.duration = seconds(duration, "EXTINF")?;
            }
            "#EXT-X-ENDLIST" => made.ended = true,
            _ if line.starts_with('#') => {}
            _ => {
                next.uri = Some(line.into());
                made.segments.push(std::mem::take(&mut next));
            }
        }
    }
    if !next.parts.is_empty() {
        made.segments.push(next);
    }
    made.first = made
        .first
        .checked_add(skipped)
        .ok_or(Error::Tag("EXT-X-SKIP"))?;
    match made.target.is_zero() {
        true => Err(Error::Tag("EXT-X-TARGETDURATION")),
        false => Ok(made),
    }
}

/// EXT-X-SERVER-CONTROL (4.4.3.8).
fn control(made: &mut Media, list: &str) -> Result<(), Error> {
    made.blocks = attribute(list, "CAN-BLOCK-RELOAD") == Some("YES");
    made.skips = attribute(list, "CAN-SKIP-UNTIL").is_some();
    if let Some(back) = attribute(list, "PART-HOLD-BACK") {
        made.part_hold_back = seconds(back, "EXT-X-SERVER-CONTROL")?;
    }
    Ok(())
}

fn part(list: &str) -> Result<Part, Error> {
    let broken = Error::Tag("EXT-X-PART");
    Ok(Part {
        uri: attribute(list, "URI").ok_or(broken)?.into(),
        duration: seconds(attribute(list, "DURATION").ok_or(broken)?, "EXT-X-PART")?,
        independent: attribute(list, "INDEPENDENT") == Some("YES"),
    })
}

/// An attribute's value without its quotes (4.2).
fn attribute<'a>(mut list: &'a str, name: &str) -> Option<&'a str> {
    loop {
        let (key, rest) = list.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        if key.trim() == name {
            return Some(value);
        }
        list = rest.strip_prefix(',')?;
    }
}

fn seconds(text: &str, tag: &'static str) -> Result<Duration, Error> {
    let seconds = text.parse().map_err(|_| Error::Tag(tag))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| Error::Tag(tag))
}

fn number(text: &str, tag: &'static str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Tag(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MULTIVARIANT: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-CONTENT-STEERING:SERVER-URI=\"/steering/live/x?session=S\",PATHWAY-ID=\"a\"
#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS=\"avc1.640028,mp4a.40.2\",STABLE-VARIANT-ID=\"live/x\",PATHWAY-ID=\"a\"
http://a:1/live/x/media.m3u8?session=S
#EXT-X-STREAM-INF:BANDWIDTH=4
low.m3u8
";
    const MEDIA: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:6
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=36.0,PART-HOLD-BACK=1.2
#EXT-X-PART-INF:PART-TARGET=0.4
#EXT-X-MEDIA-SEQUENCE:100
#EXT-X-SKIP:SKIPPED-SEGMENTS=7
#EXT-X-MAP:URI=\"init.1.2.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z
#EXT-X-PART:DURATION=0.4,URI=\"part.1.5.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.36,URI=\"part.1.6.m4s\"
#EXTINF:0.76,
seg.1.107.m4s
#EXT-X-DISCONTINUITY
#EXT-X-PART:INDEPENDENT=YES,URI=\"part.1.7.m4s\",DURATION=0.4
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part.1.8.m4s\"
";

    #[test]
    fn a_multivariant_playlist_says_where_the_variants_are_and_who_steers() {
        let Ok(Playlist::Multivariant(read)) = parse(MULTIVARIANT) else {
            panic!("it is one");
        };
        assert_eq!(read.steering.as_deref(), Some("/steering/live/x?session=S"));
        let [first, second] = &read.variants[..] else {
            panic!("two variants")
        };
        assert_eq!(first.uri, "http://a:1/live/x/media.m3u8?session=S");
        assert_eq!((&*first.stable_id, &*first.pathway), ("live/x", "a"));
        assert_eq!((&*second.uri, &*second.stable_id), ("low.m3u8", ""));
    }

    #[test]
    fn a_media_playlist_counts_its_segments_and_parts() {
        let Ok(Playlist::Media(read)) = parse(MEDIA) else {
            panic!("it is one");
        };
        assert_eq!((read.target.as_secs(), read.first), (6, 107));
        assert_eq!(read.part_target, Some(Duration::from_millis(400)));
        assert_eq!(read.part_hold_back, Duration::from_millis(1200));
        assert!(read.blocks && read.skips && !read.ended);
        let [whole, making] = &read.segments[..] else {
            panic!("two segments")
        };
        assert_eq!(whole.uri.as_deref(), Some("seg.1.107.m4s"));
        assert_eq!(whole.map.as_deref(), Some("init.1.2.mp4"));
        assert_eq!(whole.duration, Duration::from_millis(760));
        assert_eq!(whole.parts.len(), 2);
        assert_eq!((making.uri.as_deref(), making.discontinuity), (None, true));
        let part = &making.parts[0];
        assert_eq!((&*part.uri, part.independent), ("part.1.7.m4s", true));
    }

    #[test]
    fn what_is_no_playlist_is_told() {
        let broken = [
            "",
            "<html>",
            "#EXTM3U\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:x\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:-1\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-PART:DURATION=1\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-SKIP:SKIPPED-SEGMENTS=-1\n",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
        ];
        for text in broken {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "[#A-Z:,=\"\n0-9.-]{0,200}", at in 0..MEDIA.len()) {
            let _ = parse(&format!("#EXTM3U\n{text}"));
            let _ = parse(&MEDIA[..at]);
        }
    }
}
