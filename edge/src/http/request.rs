//! Sans-IO: what a viewer asks for, read from path, query and headers.
//!
//! The path is decoded exactly once, segment by segment, so that an encoded slash or a second layer of
//! encoding never names a stream. What stands in the paths of HLS is read in [`hls`].
//! Leaves out whether the stream exists and whether the viewer may have it.

pub(crate) mod hls;

use cluster::stream::StreamKey;
use http::{HeaderMap, Uri};
use media::flv::Hevc;
use transport::http::bearer;

use crate::playback::{Options, Resume};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// A stream as FLV.
    Flv(Wish),
    /// A playlist or a piece of a stream.
    Hls(hls::Wish),
}

/// A wish for FLV.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    /// The stream.
    pub(crate) stream: StreamKey,
    /// How it is to be written.
    pub(crate) options: Options,
    /// The token presented, from the query or else the `Authorization` header.
    pub(crate) token: Option<String>,
}

/// Why a request names no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// There is nothing at this path.
    Unknown,
    /// The path is written in a way that is never right.
    Malformed,
    /// What is to be resumed is not three numbers.
    Resume,
    /// `_HLS_msn`, `_HLS_part` or `_HLS_skip` are not what they may be.
    Directive,
}

impl Ask {
    /// Reads what is asked for from its path.
    pub(crate) fn parse(uri: &Uri, headers: &HeaderMap) -> Result<Self, Invalid> {
        let path = segments(uri.path())?;
        let query = Query::new(uri.query().unwrap_or_default());
        match path.as_slice() {
            [app, file] if file.ends_with(".flv") => {
                Wish::new(stream(app, file, ".flv")?, &query, headers).map(Self::Flv)
            }
            path => hls::Wish::new(path, &query, headers).map(Self::Hls),
        }
    }
}

impl Wish {
    /// Reads `?token=..&hevc=legacy&weir=1&resume=epoch.group.frame`; a session is a token, too.
    fn new(stream: StreamKey, query: &Query<'_>, headers: &HeaderMap) -> Result<Self, Invalid> {
        let hevc = match query.value(Name::Hevc).as_deref() {
            Some("legacy") => Hevc::Legacy,
            _ => Hevc::Enhanced,
        };
        let token = query.token(headers).or_else(|| query.value(Name::Session));
        let resume = query.value(Name::Resume);
        let resume = resume.map(|text| resume_after(&text).ok_or(Invalid::Resume));
        let options = Options {
            hevc,
            weir: query.value(Name::Weir).as_deref() == Some("1"),
            resume: resume.transpose()?,
        };
        Ok(Self {
            stream,
            options,
            token,
        })
    }

    /// The same wish as path and query, for another edge.
    ///
    /// Only for a token that was verified: it then holds nothing that a URL cannot.
    pub(crate) fn path_and_query(&self) -> String {
        let mut text = format!("/{}.flv", self.stream);
        let mut separator = '?';
        let Options { hevc, weir, resume } = self.options;
        let resume = resume.map(|last| format!("{}.{}.{}", last.epoch, last.group, last.frame));
        let parameters = [
            ("token", self.token.as_deref()),
            ("hevc", (hevc == Hevc::Legacy).then_some("legacy")),
            ("weir", weir.then_some("1")),
            ("resume", resume.as_deref()),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                text.extend([separator.to_string().as_str(), name, "=", value]);
                separator = '&';
            }
        }
        text
    }
}

/// The parameters that mean something here, found in one pass: the first of each name, as it was written.
#[derive(Debug)]
struct Query<'a>([Option<&'a str>; NAMES.len()]);

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Token,
    Session,
    Hevc,
    Weir,
    Resume,
    Msn,
    Part,
    Skip,
}

/// What parameters are called, in the order of [`Name`].
const NAMES: [&str; 8] = [
    "token",
    "session",
    "hevc",
    "weir",
    "resume",
    "_HLS_msn",
    "_HLS_part",
    "_HLS_skip",
];

impl<'a> Query<'a> {
    fn new(query: &'a str) -> Self {
        let mut values = [None; NAMES.len()];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some(known) = NAMES.iter().position(|known| *known == name) {
                values[known].get_or_insert(value);
            }
        }
        Self(values)
    }

    /// A value; one that is badly encoded is as good as none.
    fn value(&self, name: Name) -> Option<String> {
        self.0[name as usize].and_then(decode)
    }

    /// The token presented, from here or else the `Authorization` header.
    fn token(&self, headers: &HeaderMap) -> Option<String> {
        let token = self.value(Name::Token);
        token.or_else(|| bearer(headers).map(str::to_owned))
    }
}

/// A path's segments, decoded.
fn segments(path: &str) -> Result<Vec<String>, Invalid> {
    let segments = path.strip_prefix('/').ok_or(Invalid::Malformed)?.split('/');
    // Three make a piece of a stream; a fourth is kept only to see that there is one too many.
    let mut decoded = Vec::with_capacity(4);
    for segment in segments {
        let segment = decode(segment).ok_or(Invalid::Malformed)?;
        if matches!(segment.as_str(), "" | "." | "..") || segment.contains(['/', '\\', '\0']) {
            return Err(Invalid::Malformed);
        }
        if decoded.len() < 4 {
            decoded.push(segment);
        }
    }
    Ok(decoded)
}

/// The stream of a file whose name is the stream's and this suffix.
fn stream(app: &str, file: &str, suffix: &str) -> Result<StreamKey, Invalid> {
    let name = file.strip_suffix(suffix).ok_or(Invalid::Unknown)?;
    StreamKey::parse(&format!("{app}/{name}")).map_err(|_| Invalid::Unknown)
}

/// The last frame that a player has, `epoch.group.frame`; digits only, so that it is written in one way.
fn resume_after(text: &str) -> Option<Resume> {
    if !text
        .bytes()
        .all(|byte| byte == b'.' || byte.is_ascii_digit())
    {
        return None;
    }
    let mut numbers = text.split('.');
    let last = Resume {
        epoch: numbers.next()?.parse().ok()?,
        group: numbers.next()?.parse().ok()?,
        frame: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(last)
}

/// Percent-decoding (RFC 3986, section 2.1), once; `None` when an escape is broken or the text is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(uri: &str, authorization: Option<&str>) -> Result<Wish, Invalid> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        }
        match Ask::parse(&uri.parse().unwrap(), &headers)? {
            Ask::Flv(wish) => Ok(wish),
            Ask::Hls(wish) => panic!("{wish:?}"),
        }
    }

    #[test]
    fn a_path_names_a_stream_or_nothing() {
        let check = |path: &str, expected: Result<&str, Invalid>| {
            let stream = parse(path, None).map(|wish| wish.stream.to_string());
            assert_eq!(stream.as_deref().map_err(|e| *e), expected, "{path}");
        };
        check("/live/x.flv", Ok("live/x"));
        check("/live/x.flv?a=b", Ok("live/x"));
        check("/live/a.b-c_9.flv", Ok("live/a.b-c_9"));
        check("/%6cive/%78.flv", Ok("live/x"));
        for path in [
            "/live/x",
            "/live/x.mp4",
            "/live",
            "/a/b/c.flv",
            "/live/.flv",
            "/live/a%20b.flv",
        ] {
            check(path, Err(Invalid::Unknown));
        }
        // A second layer of encoding stays encoded, and '%' is in no name.
        check("/live/%2578.flv", Err(Invalid::Unknown));
        check("/live/%252e%252e.flv", Err(Invalid::Unknown));
        for path in [
            "/live%2fx.flv",
            "/live/%2Fx.flv",
            "//live/x.flv",
            "/live//x.flv",
            "/live/x.flv/",
            "/live/../x.flv",
            "/live/%2e%2e",
            "/./live/x.flv",
            "/live/%zz.flv",
            "/live/%7",
            "/live/%ff.flv",
            "/live/a%5cb.flv",
            "/live/a%00.flv",
        ] {
            check(path, Err(Invalid::Malformed));
        }
    }

    #[test]
    fn the_token_is_found() {
        let check = |uri: &str, authorization, expected: Option<&str>| {
            let token = parse(uri, authorization).unwrap().token;
            assert_eq!(token.as_deref(), expected, "{uri} {authorization:?}");
        };
        check("/a/b.flv", None, None);
        check("/a/b.flv?token=x.y-z", None, Some("x.y-z"));
        check("/a/b.flv?k=1&token=x%2Ey", None, Some("x.y"));
        check("/a/b.flv?token=first&token=second", None, Some("first"));
        check("/a/b.flv?xtoken=x", None, None);
        check("/a/b.flv", Some("Bearer abc"), Some("abc"));
        check("/a/b.flv", Some("bearer abc"), Some("abc"));
        check("/a/b.flv", Some("Basic abc"), None);
        check("/a/b.flv?token=q", Some("Bearer abc"), Some("q"));
        check("/a/b.flv?session=s", None, Some("s"));
        check("/a/b.flv?session=s&token=q", None, Some("q"));
    }

    #[test]
    fn hevc_is_written_as_asked() {
        for (uri, hevc) in [
            ("/a/b.flv", Hevc::Enhanced),
            ("/a/b.flv?hevc=legacy", Hevc::Legacy),
            ("/a/b.flv?hevc=other", Hevc::Enhanced),
        ] {
            assert_eq!(parse(uri, None).unwrap().options.hevc, hevc, "{uri}");
        }
    }

    #[test]
    fn a_player_says_what_it_has() {
        let last = |epoch, group, frame| Resume {
            epoch,
            group,
            frame,
        };
        let check = |query: &str, weir: bool, expected: Result<Option<Resume>, Invalid>| {
            let wish = parse(&format!("/a/b.flv?{query}"), None);
            let found = wish.map(|wish| {
                assert_eq!(wish.options.weir, weir, "{query}");
                wish.options.resume
            });
            assert_eq!(found, expected, "{query}");
        };
        check("", false, Ok(None));
        check("weir=1", true, Ok(None));
        check("weir=0", false, Ok(None));
        check("resume=1.2.3", false, Ok(Some(last(1, 2, 3))));
        check("weir=1&resume=0.0.0", true, Ok(Some(last(0, 0, 0))));
        check("resume=1%2E2%2e3", false, Ok(Some(last(1, 2, 3))));
        let most = "resume=18446744073709551615.18446744073709551615.4294967295";
        check(most, false, Ok(Some(last(u64::MAX, u64::MAX, u32::MAX))));
        for wrong in [
            "", "1", "1.2", "1.2.", "1.2.3.4", "1.2.x", "+1.2.3", "-1.2.3", "%201.2.3",
        ] {
            check(&format!("resume={wrong}"), false, Err(Invalid::Resume));
        }
        check(
            "resume=18446744073709551616.0.0",
            false,
            Err(Invalid::Resume),
        );
        check("resume=0.0.4294967296", false, Err(Invalid::Resume));
    }

    #[test]
    fn a_wish_is_written_as_it_was_read() {
        for uri in [
            "/a/b.flv",
            "/a/b.flv?token=x.y",
            "/a/b.flv?token=x&hevc=legacy",
            "/a/b.flv?hevc=legacy",
            "/a/b.flv?weir=1",
            "/a/b.flv?token=x&hevc=legacy&weir=1&resume=7.20.300",
        ] {
            assert_eq!(parse(uri, None).unwrap().path_and_query(), uri);
        }
        assert_eq!(
            parse("/a/b.flv", Some("Bearer t"))
                .unwrap()
                .path_and_query(),
            "/a/b.flv?token=t"
        );
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_panic(path in "/[ -~]{0,80}") {
            if let Ok(uri) = path.parse::<Uri>() {
                let _ = Ask::parse(&uri, &HeaderMap::new());
            }
        }

        #[test]
        fn any_text_is_decoded_without_panic(text in ".{0,80}") {
            if let Some(decoded) = decode(&text) {
                prop_assert!(decoded.len() <= text.len());
            }
        }
    }
}
