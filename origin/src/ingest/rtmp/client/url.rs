//! Sans-IO: `rtmp://host[:port]/app/stream[?query]`.

/// Where a client goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `rtmps`.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// 1935, or 443 for `rtmps`, unless given.
    pub port: u16,
    /// All of the path but its last segment.
    pub app: String,
    /// The last segment of the path, with its query.
    pub stream: String,
}

/// Not an RTMP URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form rtmp://host[:port]/app/stream")]
pub struct BadUrl;

impl Url {
    /// Parses a URL.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(BadUrl)?;
        let (tls, default_port) = match scheme {
            "rtmp" => (false, 1935),
            "rtmps" => (true, 443),
            _ => return Err(BadUrl),
        };
        let (authority, path) = rest.split_once('/').ok_or(BadUrl)?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(BadUrl)?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| BadUrl)?,
            None if port.is_empty() => default_port,
            None => return Err(BadUrl),
        };
        let name_end = path.find('?').unwrap_or(path.len());
        let (app, _) = path[..name_end].rsplit_once('/').ok_or(BadUrl)?;
        let stream = &path[app.len() + 1..];
        if host.is_empty() || app.is_empty() || stream.is_empty() || stream.starts_with('?') {
            return Err(BadUrl);
        }
        let (host, app, stream) = (host.to_owned(), app.to_owned(), stream.to_owned());
        Ok(Self {
            tls,
            host,
            port,
            app,
            stream,
        })
    }

    /// The URL without the stream, as `connect` wants it.
    pub(super) fn tc_url(&self) -> String {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        let Self {
            host, port, app, ..
        } = self;
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}/{app}"),
            false => format!("{scheme}://{host}:{port}/{app}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let rows = [
            ("rtmp://h/live/x", Some((false, "h", 1935, "live", "x"))),
            ("rtmps://h/live/x", Some((true, "h", 443, "live", "x"))),
            (
                "rtmp://h:19350/live/x",
                Some((false, "h", 19350, "live", "x")),
            ),
            (
                "rtmp://[::1]/live/x",
                Some((false, "::1", 1935, "live", "x")),
            ),
            (
                "rtmp://[::1]:80/live/x",
                Some((false, "::1", 80, "live", "x")),
            ),
            (
                "rtmp://h/live/x?token=a/b",
                Some((false, "h", 1935, "live", "x?token=a/b")),
            ),
            ("rtmp://h/a/b/x", Some((false, "h", 1935, "a/b", "x"))),
            ("rtmp://h/live", None),
            ("rtmp://h/live/", None),
            ("rtmp://h/live/?token=y", None),
            ("rtmp://h//x", None),
            ("rtmp:///live/x", None),
            ("rtmp://h:port/live/x", None),
            ("rtmp://h:70000/live/x", None),
            ("rtmp://[::1]x/live/x", None),
            ("rtmp://[::1/live/x", None),
            ("http://h/live/x", None),
            ("h/live/x", None),
            ("", None),
        ];
        for (url, want) in rows {
            let got = Url::parse(url).ok();
            let got = got
                .as_ref()
                .map(|u| (u.tls, &*u.host, u.port, &*u.app, &*u.stream));
            assert_eq!(got, want, "{url}");
        }
    }

    #[test]
    fn the_connection_url_keeps_brackets() {
        let tc_url = |url| Url::parse(url).unwrap().tc_url();
        assert_eq!(tc_url("rtmp://[::1]/live/x?a"), "rtmp://[::1]:1935/live");
        assert_eq!(tc_url("rtmps://h/a/b/x"), "rtmps://h:443/a/b");
    }
}
