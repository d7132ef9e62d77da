//! A media playlist's text to what it says; only what the rules ask for.

use super::Ask;
use std::collections::BTreeMap;

/// What a playlist says. Durations are in µs, dates in Unix ms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playlist {
    pub version: u64,
    pub target: u64,
    pub control: BTreeMap<String, String>,
    pub part_target_us: i64,
    pub first_msn: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE.
    pub discontinuity: u64,
    pub skipped: u64,
    /// The last has no URI while it grows.
    pub segments: Vec<Segment>,
    pub hint: Option<String>,
    pub reports: Vec<Report>,
    pub ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segment {
    pub msn: u64,
    pub uri: Option<String>,
    pub us: i64,
    /// Its discontinuity sequence number.
    pub discontinuity: u64,
    pub map: Option<String>,
    pub date_ms: Option<i64>,
    pub gap: bool,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub uri: String,
    pub us: i64,
    pub independent: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub uri: String,
    pub msn: u64,
    pub part: Option<u64>,
}

impl Playlist {
    /// Number of its last segment and how many parts of that are there; `None` when it is complete.
    pub fn end(&self) -> (u64, Option<usize>) {
        let last = self.segments.last();
        last.map_or((self.first_msn, None), |last| {
            let open = last.uri.is_none().then_some(last.parts.len());
            (last.msn, open)
        })
    }

    /// Whether what was asked for is there.
    pub fn has(&self, ask: Ask) -> bool {
        let (msn, open) = self.end();
        match (ask.part, open) {
            _ if ask.msn < msn => true,
            (_, None) => ask.msn == msn,
            (None, Some(_)) => false,
            (Some(part), Some(parts)) => ask.msn == msn && part < parts,
        }
    }

    /// The time from the end of this segment to the end of the playlist.
    pub fn us_after(&self, index: usize) -> i64 {
        let after = self.segments.iter().skip(index + 1);
        after.map(|segment| segment.us).sum()
    }

    pub fn control_us(&self, name: &str) -> Option<i64> {
        self.control.get(name).and_then(|value| us(value).ok())
    }

    pub fn target_us(&self) -> i64 {
        self.target as i64 * 1_000_000
    }
}

/// Reads a playlist; the error says what is wrong with its syntax.
pub fn parse(text: &str) -> Result<Playlist, String> {
    let mut lines = text.lines();
    if lines.next() != Some("#EXTM3U") {
        return Err("it does not begin with #EXTM3U".into());
    }
    let mut reader = Reader::default();
    for line in lines {
        reader
            .line(line)
            .map_err(|what| format!("{what} in {line:?}"))?;
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    playlist: Playlist,
    /// The segment that tags are collected for, and whether there are any.
    open: Segment,
    extinf: bool,
    discontinuities: u64,
    map: Option<String>,
    required: [bool; 3],
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let Some(tag) = line.strip_prefix('#') else {
            return self.segment(line);
        };
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        match name {
            "EXT-X-DISCONTINUITY" => self.discontinuities += 1,
            "EXT-X-GAP" => self.open.gap = true,
            "EXT-X-MAP" => self.map = Some(need(&attributes(value)?, "URI")?),
            "EXT-X-PROGRAM-DATE-TIME" => self.open.date_ms = Some(date(value)?),
            "EXTINF" => {
                let (seconds, _) = value.split_once(',').ok_or("no comma")?;
                self.open.us = us(seconds)?;
                self.extinf = true;
            }
            "EXT-X-PART" => self.part(&attributes(value)?)?,
            _ => return self.header(name, value),
        }
        Ok(())
    }

    fn header(&mut self, name: &str, value: &str) -> Result<(), String> {
        let playlist = &mut self.playlist;
        match name {
            "EXT-X-VERSION" => playlist.version = number(value)?,
            "EXT-X-TARGETDURATION" => {
                playlist.target = number(value)?;
                self.required[0] = true;
            }
            "EXT-X-SERVER-CONTROL" => playlist.control = attributes(value)?,
            "EXT-X-PART-INF" => {
                playlist.part_target_us = us(&need(&attributes(value)?, "PART-TARGET")?)?;
                self.required[1] = true;
            }
            "EXT-X-MEDIA-SEQUENCE" => {
                playlist.first_msn = number(value)?;
                self.required[2] = true;
            }
            "EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity = number(value)?,
            "EXT-X-SKIP" => {
                playlist.skipped = number(&need(&attributes(value)?, "SKIPPED-SEGMENTS")?)?;
            }
            "EXT-X-PRELOAD-HINT" => {
                let attributes = attributes(value)?;
                if need(&attributes, "TYPE")? != "PART" {
                    return Err("a hint at something else than a part".into());
                }
                playlist.hint = Some(need(&attributes, "URI")?);
            }
            "EXT-X-RENDITION-REPORT" => {
                let attributes = attributes(value)?;
                playlist.reports.push(Report {
                    uri: need(&attributes, "URI")?,
                    msn: number(&need(&attributes, "LAST-MSN")?)?,
                    part: attributes
                        .get("LAST-PART")
                        .map(|part| number(part))
                        .transpose()?,
                });
            }
            "EXT-X-ENDLIST" => playlist.ended = true,
            name if name.starts_with("EXT") => return Err("an unexpected tag".into()),
            _ => {}
        }
        Ok(())
    }

    fn part(&mut self, attributes: &BTreeMap<String, String>) -> Result<(), String> {
        let part = Part {
            uri: need(attributes, "URI")?,
            us: us(&need(attributes, "DURATION")?)?,
            independent: attributes.get("INDEPENDENT").is_some_and(|v| v == "YES"),
        };
        self.open.parts.push(part);
        Ok(())
    }

    fn segment(&mut self, uri: &str) -> Result<(), String> {
        if !std::mem::take(&mut self.extinf) {
            return Err("a segment without EXTINF".into());
        }
        let mut segment = self.place();
        segment.uri = Some(uri.into());
        self.playlist.segments.push(segment);
        Ok(())
    }

    fn place(&mut self) -> Segment {
        let playlist = &self.playlist;
        let index = playlist.skipped + playlist.segments.len() as u64;
        Segment {
            msn: playlist.first_msn + index,
            discontinuity: playlist.discontinuity + self.discontinuities,
            map: self.map.clone(),
            ..std::mem::take(&mut self.open)
        }
    }

    fn finish(mut self) -> Result<Playlist, String> {
        if self.required != [true; 3] {
            return Err("no target duration, part target or media sequence number".into());
        }
        if self.extinf {
            return Err("EXTINF without a segment".into());
        }
        if !self.open.parts.is_empty() {
            let mut open = self.place();
            open.us = open.parts.iter().map(|part| part.us).sum();
            self.playlist.segments.push(open);
        }
        Ok(self.playlist)
    }
}

/// An attribute list (4.2): names with values, quoted ones without their quotes.
fn attributes(mut rest: &str) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("an attribute without value")?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("an open quote")?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if out.insert(name.into(), value.into()).is_some() {
            return Err(format!("{name} twice"));
        }
        rest = match after.strip_prefix(',') {
            Some(rest) => rest,
            None if after.is_empty() => after,
            None => return Err("no comma between attributes".into()),
        };
    }
    Ok(out)
}

fn need(attributes: &BTreeMap<String, String>, name: &str) -> Result<String, String> {
    let value = attributes.get(name).cloned();
    value.ok_or_else(|| format!("no {name}"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("no number: {text:?}"))
}

/// Seconds as a decimal, in µs.
fn us(text: &str) -> Result<i64, String> {
    let allowed = |c: char| c.is_ascii_digit() || c == '.';
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|_| text.chars().all(allowed));
    let seconds = seconds.ok_or_else(|| format!("no duration: {text:?}"))?;
    Ok((seconds * 1e6).round() as i64)
}

/// `YYYY-MM-DDThh:mm:ss.mmmZ` in Unix ms.
fn date(text: &str) -> Result<i64, String> {
    let wrong = || format!("no date: {text:?}");
    let shape = |(c, of): (u8, u8)| {
        if of == b'0' {
            c.is_ascii_digit()
        } else {
            c == of
        }
    };
    let same = text.len() == DATE.len() && text.bytes().zip(DATE.bytes()).all(shape);
    if !same {
        return Err(wrong());
    }
    let field = |from: usize, to: usize| text[from..to].parse::<i64>().map_err(|_| wrong());
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = 28 + i64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days: i64 = (1970..year)
        .map(|year| 365 + i64::from(leap(year)))
        .sum::<i64>()
        + months.iter().take(month as usize - 1).sum::<i64>()
        + day
        - 1;
    let seconds = (days * 24 + field(11, 13)?) * 3600 + field(14, 16)? * 60 + field(17, 19)?;
    Ok(seconds * 1000 + field(20, 23)?)
}

const DATE: &str = "0000-00-00T00:00:00.000Z";
