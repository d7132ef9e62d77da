//! Sans-IO: what a viewer's query says to the scheduler, and what is passed on to the edge.

use std::borrow::Cow;

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
                _ => continue,
            };
            field.get_or_insert(value);
        }
        query
    }

    /// The parameters meant for the edge, as written.
    pub(super) fn passed_on(text: &str) -> impl Iterator<Item = &str> {
        text.split('&').filter(|pair| {
            let name = form_urlencoded::parse(pair.as_bytes())
                .next()
                .map(|(name, _)| name);
            name.is_some_and(|name| !matches!(name.as_ref(), "token" | "exclude" | "ip"))
        })
    }
}

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
        ] {
            let kept: Vec<&str> = Query::passed_on(text).collect();
            assert_eq!(kept.join("&"), expected, "{text}");
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
