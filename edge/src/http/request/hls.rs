//! Sans-IO: what a player of HLS asks for.
//!
//! Playlists carry the viewer's session or token in their query. The names of init sections, segments and parts are
//! numbers that the origin gave, the same at every edge, and their bytes depend on nothing else in the URL.

use cluster::stream::StreamKey;
use http::HeaderMap;

use super::{Invalid, Name, Query, stream};
use crate::playback::hls::{Piece, Reload};

/// A wish for HLS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    /// The stream.
    pub(crate) stream: StreamKey,
    /// What of it.
    pub(crate) asset: Asset,
    /// The token presented.
    pub(crate) token: Option<String>,
    /// The session that an earlier answer gave.
    pub(crate) session: Option<String>,
}

/// What of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asset {
    /// `/{app}/{stream}.m3u8`.
    Multivariant,
    /// `/{app}/{stream}/media.m3u8`.
    Media(Reload),
    /// Bytes.
    Piece(Piece),
}

impl Wish {
    /// Reads the segments of a path, and the query.
    pub(super) fn new(
        path: &[String],
        query: &Query<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, Invalid> {
        let (stream, asset) = match path {
            [app, file] => (stream(app, file, ".m3u8")?, Asset::Multivariant),
            [app, name, file] => {
                let asset = match file.as_str() {
                    "media.m3u8" => Asset::Media(reload(query)?),
                    file => Asset::Piece(Piece::parse(file).ok_or(Invalid::Unknown)?),
                };
                (stream(app, name, "")?, asset)
            }
            _ => return Err(Invalid::Unknown),
        };
        Ok(Self {
            stream,
            asset,
            token: query.token(headers),
            session: query.value(Name::Session),
        })
    }

    /// The same wish as path and query, for another edge or with a session; only for tokens that were verified.
    pub(crate) fn path_and_query(&self, session: Option<&str>) -> String {
        let mut text = match self.asset {
            Asset::Multivariant => format!("/{}.m3u8", self.stream),
            Asset::Media(_) => format!("/{}/media.m3u8", self.stream),
            Asset::Piece(piece) => format!("/{}/{piece}", self.stream),
        };
        let who = match session {
            Some(session) => Some(("session", session)),
            None => self.token.as_deref().map(|token| ("token", token)),
        };
        let directives = match self.asset {
            Asset::Media(reload) => reload.to_string(),
            Asset::Multivariant | Asset::Piece(_) => String::new(),
        };
        let who = who.map(|(name, value)| format!("{name}={value}"));
        let parameters = who.into_iter().chain(Some(directives));
        for (nth, parameter) in parameters.filter(|text| !text.is_empty()).enumerate() {
            text.push(if nth == 0 { '?' } else { '&' });
            text.push_str(&parameter);
        }
        text
    }
}

/// The delivery directives (rfc8216bis 6.2.5). Ours are in the query of playlists only; others are ignored.
fn reload(query: &Query<'_>) -> Result<Reload, Invalid> {
    let number = |name| {
        let text = query.value(name);
        let number = text.map(|text| decimal(&text).ok_or(Invalid::Directive));
        number.transpose()
    };
    let (msn, part) = (number(Name::Msn)?, number(Name::Part)?);
    let skip = match query.value(Name::Skip).as_deref() {
        None | Some("NO") => false,
        Some("YES" | "v2") => true,
        Some(_) => return Err(Invalid::Directive),
    };
    let at = match (msn, part) {
        (None, None) => None,
        (Some(msn), part) => Some((msn, part)),
        // A part without its segment: 400, says the specification.
        (None, Some(_)) => return Err(Invalid::Directive),
    };
    Ok(Reload { at, skip })
}

/// A number written in the one way that we write it.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::super::Ask;
    use super::*;
    use proptest::prelude::*;

    fn parse(uri: &str) -> Result<Wish, Invalid> {
        match Ask::parse(&uri.parse().unwrap(), &HeaderMap::new())? {
            Ask::Hls(wish) => Ok(wish),
            Ask::Flv(wish) => panic!("{wish:?}"),
        }
    }

    #[test]
    fn paths_name_playlists_and_pieces() {
        let check = |path: &str, expected| {
            let wish = parse(path).unwrap();
            assert_eq!((wish.stream.as_str(), wish.asset), ("live/x", expected));
        };
        check("/live/x.m3u8", Asset::Multivariant);
        check("/live/x/media.m3u8", Asset::Media(Reload::default()));
        let init = Piece::Init {
            epoch: 1,
            config_id: 2,
        };
        check("/live/x/init.1.2.mp4", Asset::Piece(init));
        let segment = Piece::Segment { epoch: 1, msn: 20 };
        check("/live/x/seg.1.20.m4s?token=a", Asset::Piece(segment));
        let part = Piece::Part {
            epoch: 1,
            number: 300,
        };
        check("/live/x/part.1.300.m4s", Asset::Piece(part));
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "/x.m3u8",
            "/live/x",
            "/live/.m3u8",
            "/live/x/y/media.m3u8",
            "/live/x/other.m3u8",
            "/live/x/seg.1.m4s",
            "/live/x/seg.1.2.3.m4s",
            "/live/x/seg.01.2.m4s",
            "/live/x/seg.+1.2.m4s",
            "/live/x/seg.1.2.mp4",
            "/live/x/init.1.2.m4s",
            "/live/x/init.1.4294967296.mp4",
            "/live/x/part.1.18446744073709551616.m4s",
        ] {
            assert_eq!(parse(path), Err(Invalid::Unknown), "{path}");
        }
    }

    #[test]
    fn directives_are_read_or_refused() {
        type Read = (Option<(u64, Option<u64>)>, bool);
        let check = |query: &str, expected: Result<Read, Invalid>| {
            let wish = parse(&format!("/live/x/media.m3u8?session=s&{query}"));
            let asset = wish.map(|wish| wish.asset);
            let expected = expected.map(|(at, skip)| Asset::Media(Reload { at, skip }));
            assert_eq!(asset, expected, "{query}");
        };
        check("", Ok((None, false)));
        check("_HLS_msn=7", Ok((Some((7, None)), false)));
        check("_HLS_msn=7&_HLS_part=0", Ok((Some((7, Some(0))), false)));
        check("_HLS_skip=YES", Ok((None, true)));
        check("_HLS_skip=v2&_HLS_msn=7", Ok((Some((7, None)), true)));
        check("_HLS_other=1", Ok((None, false)));
        for wrong in [
            "_HLS_part=1",
            "_HLS_msn=x",
            "_HLS_msn=-1",
            "_HLS_msn=",
            "_HLS_msn=1&_HLS_part=y",
            "_HLS_skip=maybe",
        ] {
            check(wrong, Err(Invalid::Directive));
        }
    }

    #[test]
    fn a_wish_goes_to_another_edge_as_it_came() {
        let wish = parse("/live/x.m3u8?token=t").unwrap();
        assert_eq!(wish.path_and_query(None), "/live/x.m3u8?token=t");
        let wish = parse("/live/x/media.m3u8?token=t&_HLS_msn=3&_HLS_part=1&_HLS_skip=YES");
        assert_eq!(
            wish.unwrap().path_and_query(Some("s")),
            "/live/x/media.m3u8?session=s&_HLS_msn=3&_HLS_part=1&_HLS_skip=YES"
        );
    }

    proptest! {
        #[test]
        fn any_piece_is_found_under_its_own_name(epoch: u64, number: u64, config_id: u32) {
            for piece in [
                Piece::Init { epoch, config_id },
                Piece::Segment { epoch, msn: number },
                Piece::Part { epoch, number },
            ] {
                prop_assert_eq!(Piece::parse(&piece.to_string()), Some(piece));
            }
        }
    }
}
