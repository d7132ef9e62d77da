//! Sans-IO: external pathways: a commercial CDN or another cluster as a node of the plan.
//!
//! A pathway has a price, a capacity and addresses of its own form and signature (`sign`); none of
//! our tokens are valid there, and it sends no samples: who is there is estimated ([`crowd`]), and
//! whether it answers is asked ([`probe`]). The `[[pathway]]` rows are checked
//! here once, so that an address can be made for any stream without an error.
//! Not here: when a viewer is sent there, which is the price's business ([`crate::steer`]).

pub mod crowd;
pub mod probe;
mod sign;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use cluster::node::{Capacity, Node, NodeId, Place, Role};
use cluster::stream::StreamKey;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Duration;

use crowd::{Arrivals, Crowd};
use sign::{Moment, Signer};
pub use sign::{Scheme, Sign};

/// One `[[pathway]]`: a commercial CDN or another cluster, which viewers are sent to when nothing
/// cheaper has room. Its price stands in a `[[price]]` row whose `node` is its `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pathway")]
pub struct Row {
    /// Its name among the nodes of the cluster.
    pub id: NodeId,
    /// Where HTTP-FLV is played: `"https://cdn.example.com/{app}/{stream}.flv"`.
    pub url: String,
    /// Where a playlist is found that is the whole of what an HLS player needs; players are sent
    /// there and are its own from then on. Left out (and `media` too), HLS players stay at edges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hls: Option<String>,
    /// Where the media playlist of a single stream is found; the multivariant one is then the
    /// scheduler's, which can call its players home. It goes before `hls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// That it stands near every viewer, in place of `place`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everywhere: bool,
    /// Megabits per second that may be sent there; 0 is no limit.
    pub egress_mbps: u64,
    /// How its addresses are signed.
    #[serde(default)]
    pub sign: Sign,
    /// How long a viewer stays on average, by which those there are estimated.
    #[serde(default = "stay")]
    pub stay: Duration,
    /// An address that answers with success (or a redirect) while viewers can be sent there:
    /// `"https://cdn.example.com/up"`. It is asked every 5 s; after 3 failures nobody is sent
    /// there, until 2 answers. Left out, the pathway is taken to be well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// PEM file of the authorities that may vouch for an `https` probe.
    #[serde(default = "authorities")]
    pub probe_ca: PathBuf,
}

/// What of a stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP-FLV.
    Flv,
    /// All that an HLS player needs.
    Hls,
    /// The media playlist of this one stream.
    Media,
}

/// A pathway that can be used: a row whose every part was checked.
#[derive(Debug)]
pub struct Pathway {
    row: Row,
    flv: Pattern,
    hls: Option<Pattern>,
    media: Option<Pattern>,
    signer: Signer,
    arrivals: Arrivals,
}

/// An address with room for a stream's names.
#[derive(Clone, Debug, PartialEq)]
struct Pattern {
    /// `https://cdn.example.com`.
    site: String,
    /// What follows, percent-encoded as written.
    path: String,
    /// The same, decoded once.
    plain: String,
}

/// The pathways of all rows, when each makes sense.
pub fn pathways(rows: &[Row]) -> Result<Vec<Pathway>> {
    ensure!(
        rows.len() <= MAX_PATHWAYS,
        "[[pathway]]: at most {MAX_PATHWAYS}"
    );
    for (at, row) in rows.iter().enumerate() {
        let twice = rows[..at].iter().any(|before| before.id == row.id);
        ensure!(!twice, "[[pathway]] {} stands there twice", row.id);
    }
    let made = |row: &Row| {
        let name = || format!("[[pathway]] {}", row.id);
        Pathway::new(row.clone()).with_context(name)
    };
    rows.iter().map(made).collect()
}

impl Pathway {
    /// The pathway of that row, when it makes sense.
    pub fn new(row: Row) -> Result<Self> {
        let flv = Pattern::parse(&row.url).context("url")?;
        let parse = |text: &Option<String>| text.as_deref().map(Pattern::parse).transpose();
        let hls = parse(&row.hls).context("hls")?;
        let media = parse(&row.media).context("media")?;
        match (&row.place, row.everywhere) {
            (None, false) => bail!(
                "say where it stands: place = {{ lat = 50.1, lon = 8.7 }}, or everywhere = true"
            ),
            (Some(_), true) => {
                bail!("place and everywhere = true exclude each other: leave one out")
            }
            _ => {}
        }
        let stay = row.stay.get();
        ensure!(
            stay >= LEAST_STAY && stay <= LONGEST_STAY,
            "stay must be 10s to 24h, not {}",
            row.stay
        );
        if let Some(probe) = &row.probe {
            let uri = probe.parse::<http::Uri>().context("probe")?;
            ensure!(
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some(),
                "probe {probe:?}: write an address such as https://cdn.example.com/up"
            );
        }
        let signer = Signer::new(&row.sign).context("sign")?;
        for pattern in [Some(&flv), hls.as_ref(), media.as_ref()]
            .into_iter()
            .flatten()
        {
            signer.can_sign(&pattern.plain).context("sign")?;
        }
        Ok(Self {
            row,
            flv,
            hls,
            media,
            signer,
            arrivals: Arrivals::default(),
        })
    }

    /// Its name.
    pub fn id(&self) -> &NodeId {
        &self.row.id
    }

    /// Whether it stands near every viewer.
    pub fn is_everywhere(&self) -> bool {
        self.row.everywhere
    }

    /// Whether that can be had there.
    pub fn offers(&self, kind: Kind) -> bool {
        self.pattern(kind).is_some()
    }

    /// How long an address lets a viewer in, in seconds; None when it is not signed.
    pub fn ttl_s(&self) -> Option<u64> {
        self.signer.ttl_s()
    }

    /// Where a stream is played there, from a time in Unix seconds on; that of FLV when the kind
    /// is not offered. `random` makes addresses of one second differ.
    pub fn url(&self, stream: &StreamKey, kind: Kind, now_s: u64, random: u64) -> String {
        let pattern = self.pattern(kind).unwrap_or(&self.flv);
        let moment = Moment { now_s, random };
        let (path, plain) = (fill(&pattern.path, stream), fill(&pattern.plain, stream));
        let signed = self.signer.sign(&plain, &moment);
        let query = if signed.query.is_empty() { "" } else { "?" };
        [&pattern.site, &signed.before, &path, query, &signed.query].concat()
    }

    /// It as the plan and steering see it: an edge that nobody reports for.
    pub fn node(&self) -> Node {
        Node {
            id: self.row.id.clone(),
            role: Role::Edge,
            public_url: self.flv.site.clone(),
            relay: None,
            hub: false,
            zone: None,
            admin: None,
            place: self.row.place.clone().unwrap_or_default(),
            capacity: Capacity {
                egress_bps: self.row.egress_mbps.saturating_mul(1_000_000),
                viewers: 0,
            },
            version: "external".to_owned(),
        }
    }

    /// Nobody there yet.
    pub fn crowd(&self) -> Crowd {
        Crowd::new(self.row.stay.get().as_secs_f64() * 1_000.0)
    }

    /// Who was sent there.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn pattern(&self, kind: Kind) -> Option<&Pattern> {
        match kind {
            Kind::Flv => Some(&self.flv),
            Kind::Hls => self.hls.as_ref(),
            Kind::Media => self.media.as_ref(),
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        ensure!(
            text.len() <= MAX_PATTERN,
            "at most {MAX_PATTERN} characters"
        );
        let after = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let after =
            after.with_context(|| format!("{text:?} must begin with https:// or http://"))?;
        let slash = after.find('/').with_context(|| {
            format!("{text:?} has no path: write one such as /{{app}}/{{stream}}.flv")
        })?;
        let (authority, path) = after.split_at(slash);
        check_authority(authority)?;
        let plain = decode(path)?;
        for name in [APP, STREAM] {
            let times = path.matches(name).count();
            ensure!(
                times == 1,
                "{text:?} must have {name} in its path once, not {times} times"
            );
        }
        Ok(Self {
            site: text[..text.len() - path.len()].to_owned(),
            path: path.to_owned(),
            plain,
        })
    }
}

fn check_authority(authority: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ensure!(
        !authority.is_empty() && authority.bytes().all(plain),
        "{authority:?} is not a host: write a name or an address, with a port if need be"
    );
    Ok(())
}

/// The path decoded once; what would mean another path to the other side is refused.
fn decode(path: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path
        .replace(APP, "\u{1}")
        .replace(STREAM, "\u{2}")
        .into_bytes()
        .into_iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or(b'?'));
                let byte = std::str::from_utf8(&digits).ok();
                let byte = byte.filter(|_| digits.iter().all(u8::is_ascii_hexdigit));
                let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte =
                    byte.context("% in a path must be followed by two hexadecimal digits")?;
                ensure!(
                    byte != b'/',
                    "%2f in a path is refused: write the slash itself"
                );
                ensure!(
                    byte != b'%',
                    "%25 in a path is refused: it would be decoded twice"
                );
                ensure!(
                    byte >= b' ' && byte != 0x7f,
                    "control characters in a path are refused"
                );
                byte
            }
            1 | 2 | b'/' => byte,
            byte if is_unreserved(byte) => byte,
            byte => bail!(
                "{:?} in a path: write it as %{byte:02X}; only {APP} and {STREAM} have braces, and \
                 the query is the signature's",
                char::from(byte)
            ),
        });
    }
    let plain = String::from_utf8(bytes).context("a path is UTF-8 when decoded")?;
    ensure!(!plain.contains("//"), "// in a path is refused");
    let dots = |segment: &str| matches!(segment, "." | "..");
    ensure!(
        !plain.split('/').any(dots),
        ". and .. in a path are refused"
    );
    ensure!(
        !plain.ends_with('/'),
        "a path ends with a name, not with a slash"
    );
    Ok(plain.replace('\u{1}', APP).replace('\u{2}', STREAM))
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The path of a stream. Its names are plain and begin with no dot, so that nothing in it can mean
/// another path.
fn fill(pattern: &str, stream: &StreamKey) -> String {
    let (app, name) = stream.as_str().split_once('/').unwrap_or_default();
    // In one pass: a name may not hold braces, but this does not rely on it.
    let (before, after) = pattern.split_once(APP).unwrap_or((pattern, ""));
    [
        &before.replace(STREAM, name),
        app,
        &after.replace(STREAM, name),
    ]
    .concat()
}

const APP: &str = "{app}";
const STREAM: &str = "{stream}";

/// Of FLV viewers that others measured the mean is about that.
fn stay() -> Duration {
    Duration::from_secs(20 * 60)
}

fn authorities() -> PathBuf {
    PathBuf::from("/etc/ssl/certs/ca-certificates.crt")
}

/// Shorter ones mean that nobody watches, longer ones that the estimate never falls.
const LEAST_STAY: std::time::Duration = std::time::Duration::from_secs(10);
const LONGEST_STAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Each is looked at in every decision, like an edge; there are not so many vendors.
const MAX_PATHWAYS: usize = 16;

/// With two names of 64 an address stays far below what players take.
const MAX_PATTERN: usize = 1_024;

#[cfg(test)]
mod tests;
