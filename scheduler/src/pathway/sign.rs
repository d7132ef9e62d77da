//! Sans-IO: signed addresses as other CDNs check them.
//!
//! Each scheme signs the path decoded once, with the time in the form of its vendor, and says either
//! what goes before the path or what goes into the query. MD5 is theirs to answer for: it is used
//! for nothing else.
//! Sources: Aliyun CDN "Configure URL signing" types A, B and C; Tencent Cloud "Live playback
//! hotlink protection" and "CDN authentication type A"; Akamai EdgeAuth token 2.0.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use cluster::moment;
use md5::{Digest, Md5};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::{Duration, Secret};

/// How a pathway's addresses are signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "PathwaySign")]
pub struct Sign {
    /// The vendor's form: `"aliyun-a"`, `"aliyun-b"`, `"aliyun-c"`, `"tencent-live"`,
    /// `"tencent-cdn-a"`, `"akamai"`, or `"none"` for addresses that need no signature.
    pub scheme: Scheme,
    /// The key shared with the vendor, as text; Akamai's in hexadecimal digits.
    pub key: Secret,
    /// How long an address lets a viewer in; 30 minutes when left out.
    /// `tencent-live` and `akamai` say it in the address; for the others it must be what the
    /// vendor's own settings say. An HLS player asks again and again with the address that it has,
    /// so for `hls` and `media` it must outlast a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Akamai's name of the parameter; `hdnts` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// A vendor's form of a signed address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Not signed.
    #[default]
    None,
    /// `?auth_key={ts}-{rand}-{uid}-{md5(path-ts-rand-uid-key)}`.
    AliyunA,
    /// `/{YYYYMMDDHHMM in UTC+8}/{md5(key+time+path)}/path`.
    AliyunB,
    /// `/{md5(key+path+hex ts)}/{hex ts}/path`.
    AliyunC,
    /// `?txSecret={md5(key+name+hex expiry)}&txTime={hex expiry}`.
    TencentLive,
    /// `?sign={ts}-{rand}-{uid}-{md5(path-ts-rand-uid-key)}`.
    TencentCdnA,
    /// `?hdnts=st=..~exp=..~acl=..~hmac=..`.
    Akamai,
}

/// Signs paths by one scheme and key.
#[derive(Debug)]
pub(super) struct Signer {
    scheme: Scheme,
    key: Key,
    ttl_s: u64,
    param: String,
}

/// The key in the form that its scheme takes.
enum Key {
    Text(Secret),
    Hmac(Box<hmac::Key>),
}

/// When an address is made, and what makes it differ from others of that second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now_s: u64,
    pub(super) random: u64,
}

/// What a signature adds to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signed {
    /// Stands before the path.
    pub(super) before: String,
    /// The query, without its question mark.
    pub(super) query: String,
}

impl Signer {
    /// A signer, when the settings make sense.
    pub(super) fn new(sign: &Sign) -> Result<Self> {
        let (scheme, text) = (sign.scheme, sign.key.expose());
        let ttl = sign.ttl.unwrap_or(TTL).get();
        ensure!(
            ttl >= LEAST_TTL && ttl <= LONGEST_TTL,
            "ttl must be 10s to 7d"
        );
        ensure!(
            sign.param.is_none() || scheme == Scheme::Akamai,
            "param belongs to scheme = \"akamai\": leave it out"
        );
        let param = sign.param.clone().unwrap_or_else(|| PARAM.to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        ensure!(
            (1..=MAX_PARAM).contains(&param.len()) && param.bytes().all(plain),
            "param {param:?}: use 1 to {MAX_PARAM} of A-Z a-z 0-9 _"
        );
        match scheme {
            Scheme::None => ensure!(
                text.is_empty() && sign.ttl.is_none(),
                "scheme = \"none\" signs nothing: leave key and ttl out, or name the scheme"
            ),
            _ => ensure!(
                !text.is_empty(),
                "key is missing: write key = \"${{NAME}}\" and set NAME in the environment"
            ),
        }
        let key = match scheme {
            Scheme::Akamai => {
                let key =
                    unhex(text).context("Akamai's key is an even number of hexadecimal digits")?;
                Key::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key)))
            }
            _ => Key::Text(sign.key.clone()),
        };
        Ok(Self {
            scheme,
            key,
            ttl_s: ttl.as_secs(),
            param,
        })
    }

    /// Whether paths of that pattern can be signed.
    pub(super) fn can_sign(&self, plain: &str) -> Result<()> {
        let safe = |byte: u8| super::is_unreserved(byte) && byte != b'~' || b"/{}".contains(&byte);
        ensure!(
            self.scheme != Scheme::Akamai || plain.bytes().all(safe),
            "Akamai's acl takes a path of A-Z a-z 0-9 - . _ / only, not {plain:?}"
        );
        Ok(())
    }

    /// How long an address lets a viewer in; None when it is not signed.
    pub(super) fn ttl_s(&self) -> Option<u64> {
        (self.scheme != Scheme::None).then_some(self.ttl_s)
    }

    /// Signs a path that was decoded once.
    pub(super) fn sign(&self, path: &str, moment: &Moment) -> Signed {
        let now_s = moment.now_s;
        match (&self.key, self.scheme) {
            (Key::Hmac(key), _) => Signed::query(self.akamai(key, path, now_s)),
            (Key::Text(_), Scheme::None | Scheme::Akamai) => Signed::default(),
            (Key::Text(key), Scheme::AliyunA) => {
                Signed::query(format!("auth_key={}", dashed(key, path, moment)))
            }
            (Key::Text(key), Scheme::TencentCdnA) => {
                Signed::query(format!("sign={}", dashed(key, path, moment)))
            }
            (Key::Text(key), Scheme::AliyunB) => {
                let time = beijing_minute(now_s);
                let hash = md5_hex(&[key.expose(), &time, path]);
                Signed::before(format!("/{time}/{hash}"))
            }
            (Key::Text(key), Scheme::AliyunC) => {
                let time = format!("{now_s:X}");
                let hash = md5_hex(&[key.expose(), path, &time]);
                Signed::before(format!("/{hash}/{time}"))
            }
            (Key::Text(key), Scheme::TencentLive) => {
                let time = format!("{:X}", now_s + self.ttl_s);
                let hash = md5_hex(&[key.expose(), stem(path), &time]);
                Signed::query(format!("txSecret={hash}&txTime={time}"))
            }
        }
    }

    /// Of a playlist all that lies in its folder may be asked for with the same token, of
    /// everything else itself only.
    fn akamai(&self, key: &hmac::Key, path: &str, now_s: u64) -> String {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let acl = if path.ends_with(".m3u8") {
            format!("{folder}/*")
        } else {
            path.to_owned()
        };
        let text = format!("st={now_s}~exp={}~acl={acl}", now_s + self.ttl_s);
        let tag = hmac::sign(key, text.as_bytes());
        format!("{}={text}~hmac={}", self.param, hex(tag.as_ref()))
    }
}

impl Signed {
    fn before(before: String) -> Self {
        Self {
            before,
            query: String::new(),
        }
    }

    fn query(query: String) -> Self {
        Self {
            before: String::new(),
            query,
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// `{ts}-{rand}-{uid}-{md5}`, as Aliyun's type A and Tencent's CDN type A have it.
fn dashed(key: &Secret, path: &str, Moment { now_s, random }: &Moment) -> String {
    let stamp = format!("{now_s}-{random:016x}-{UID}");
    let hash = md5_hex(&[path, "-", &stamp, "-", key.expose()]);
    format!("{stamp}-{hash}")
}

/// The last name of a path, without its extension.
fn stem(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// `YYYYMMDDHHMM` in UTC+8.
fn beijing_minute(unix_s: u64) -> String {
    let text = moment::format(unix_s + 8 * 3_600);
    let digits = text.chars().filter(char::is_ascii_digit);
    digits.take("YYYYMMDDHHMM".len()).collect()
}

fn md5_hex(parts: &[&str]) -> String {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let both = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(both).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let valid = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    valid.then(|| (0..text.len()).step_by(2).map(byte).collect())?
}

/// No vendor reads it.
const UID: &str = "0";

/// What Aliyun and Tencent set for a new domain.
const TTL: Duration = Duration::from_secs(1_800);

/// Clocks differ by seconds; a week is a key, not an address.
const LEAST_TTL: std::time::Duration = std::time::Duration::from_secs(10);
const LONGEST_TTL: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// Akamai's name for HTTP streaming.
const PARAM: &str = "hdnts";
const MAX_PARAM: usize = 32;

#[cfg(test)]
mod tests;
