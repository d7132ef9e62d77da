//! Sans-IO: what a viewer's query says to the scheduler, and what is passed on to the edge.

use std::borrow::Cow;
use std::net::IpAddr;

/// The parameters that the scheduler understands; of one given twice the first counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Query<'a> {
    /// The viewer's token.
    pub(super) token: Option<Cow<'a, str>>,
    /// Names the viewer when an address does not (many viewers behind one).
    pub(super) session: Option<Cow<'a, str>>,
    /// Ids of edges not to be sent to, separated by commas.
    pub(super) exclude: Option<Cow<'a, str>>,
    /// The address to be answered for, where that is allowed.
    pub(super) ip: Option<Cow<'a, str>>,
    /// The stream, where the path does not name it.
    pub(super) stream: Option<Cow<'a, str>>,
    /// `1` from an HLS player that wants a redirect instead of a playlist.
    pub(super) redirect: Option<Cow<'a, str>>,
    /// The pathway of a steered player's playlist.
    pub(super) base: Option<Cow<'a, str>>,
    /// The edge that the player plays from.
    playing: Option<Cow<'a, str>>,
    /// How many answers in a row wanted the player to move.
    asked: Option<Cow<'a, str>>,
    /// The pathway that the player uses (`_HLS_pathway`).
    pathway: Option<Cow<'a, str>>,
    /// Bits per second that it measured (`_HLS_throughput`).
    throughput: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    /// Reads the query's text, without the question mark.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let field = match name.as_ref() {
                "token" => &mut query.token,
                "session" => &mut query.session,
                "exclude" => &mut query.exclude,
                "ip" => &mut query.ip,
                "stream" => &mut query.stream,
                "redirect" => &mut query.redirect,
                "base" => &mut query.base,
                "playing" => &mut query.playing,
                "asked" => &mut query.asked,
                "_HLS_pathway" => &mut query.pathway,
                "_HLS_throughput" => &mut query.throughput,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        query
    }

    /// The edge that the player says it plays from: the pathway of HLS, which some write in quotes.
    pub(super) fn playing(&self) -> Option<&str> {
        let pathway = self.pathway.as_deref().map(|id| id.trim_matches('"'));
        pathway.or(self.playing.as_deref())
    }

    /// The throughput that the player says it has, in bits per second.
    pub(super) fn throughput_bps(&self) -> Option<u64> {
        let bps: u64 = self.throughput.as_deref()?.parse().ok()?;
        (1..=MAX_THROUGHPUT_BPS).contains(&bps).then_some(bps)
    }

    /// How many answers in a row wanted the player to move.
    pub(super) fn asked(&self) -> u8 {
        let asked = self.asked.as_deref().and_then(|text| text.parse().ok());
        asked.unwrap_or(0)
    }

    /// The address to be answered for, if it is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.ip.as_deref()?.parse().ok()
    }

    /// The parameters meant for the edge, as written.
    pub(super) fn passed_on(text: &str) -> impl Iterator<Item = &str> {
        text.split('&').filter(|pair| {
            let name = form_urlencoded::parse(pair.as_bytes())
                .next()
                .map(|(name, _)| name);
            name.is_some_and(|name| !HELD_BACK.contains(&name.as_ref()))
        })
    }
}

/// What the scheduler consumes.
const HELD_BACK: [&str; 5] = ["token", "exclude", "ip", "redirect", "playing"];

/// No player's link is faster than this; what says so is not a measurement.
const MAX_THROUGHPUT_BPS: u64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_counts() {
        let query =
            Query::parse("token=a.b-c&session=x%20y&ip=2001%3Adb8%3A%3A1&token=z&stream=live%2Fx");
        assert_eq!(query.token.as_deref(), Some("a.b-c"));
        assert_eq!(query.session.as_deref(), Some("x y"));
        assert_eq!(query.ip.as_deref(), Some("2001:db8::1"));
        assert_eq!(query.stream.as_deref(), Some("live/x"));
        assert_eq!(Query::parse(""), Query::default());
    }

    #[test]
    fn only_what_the_scheduler_consumes_is_held_back() {
        for (text, expected) in [
            ("", ""),
            ("hevc=legacy", "hevc=legacy"),
            (
                "token=t&hevc=legacy&ip=1.2.3.4&a=%26&exclude=e&session=s",
                "hevc=legacy&a=%26&session=s",
            ),
            ("token=t&weir=1&resume=1.2.3", "weir=1&resume=1.2.3"),
            ("tok%65n=t&&x", "x"),
            ("redirect=1&a=1&playing=edge-a", "a=1"),
        ] {
            let kept: Vec<&str> = Query::passed_on(text).collect();
            assert_eq!(kept.join("&"), expected, "{text}");
        }
    }

    #[test]
    fn what_players_measured_is_believed_within_bounds() {
        for (text, playing, throughput_bps) in [
            ("", None, None),
            (
                "_HLS_pathway=edge-a&_HLS_throughput=5140000",
                Some("edge-a"),
                Some(5_140_000),
            ),
            ("_HLS_pathway=%22edge-a%22", Some("edge-a"), None),
            ("playing=edge-a&weir=1", Some("edge-a"), None),
            ("_HLS_throughput=0", None, None),
            ("_HLS_throughput=-1", None, None),
            ("_HLS_throughput=1e9", None, None),
            ("_HLS_throughput=100000000001", None, None),
            ("_HLS_throughput=99999999999999999999999", None, None),
        ] {
            let query = Query::parse(text);
            let said = (query.playing(), query.throughput_bps());
            assert_eq!(said, (playing, throughput_bps), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}") {
            let _ = Query::parse(&text);
            let _ = Query::passed_on(&text).count();
        }
    }
}
