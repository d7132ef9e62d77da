//! Sans-IO: a URL as a viewer needs it: whom to dial, what to ask.

use anyhow::{Context, Result, anyhow, ensure};
use http::Uri;

/// An `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL itself.
    pub url: String,
    /// Whether it is `https`.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// As it stands in the URL; names whom a viewer was served by.
    pub authority: String,
    path: String,
}

impl Target {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self> {
        let read = || {
            let uri: Uri = url.parse().ok()?;
            let tls = match uri.scheme_str()? {
                "http" => false,
                "https" => true,
                _ => return None,
            };
            let authority = uri.authority()?;
            let server = authority.as_str().rsplit('@').next()?;
            let port = match server.strip_prefix(authority.host())?.strip_prefix(':') {
                Some(port) => port.parse().ok()?,
                None => [80, 443][usize::from(tls)],
            };
            Some(Self {
                url: url.into(),
                tls,
                host: authority.host().trim_matches(['[', ']']).into(),
                port,
                authority: server.into(),
                path: uri.path_and_query()?.as_str().into(),
            })
        };
        let target = read().with_context(|| {
            format!("{url:?} is no URL to watch: write http://host:port/app/name.flv")
        })?;
        ensure!(!target.host.is_empty(), "{url:?} names no host");
        Ok(target)
    }

    /// Where a redirect leads: a whole URL, or a path at the same server (RFC 9110 10.2.2).
    pub fn redirected(&self, location: &str) -> Result<Self> {
        let scheme = if self.tls { "https" } else { "http" };
        let target = match location.starts_with('/') {
            true => Self::parse(&format!("{scheme}://{}{location}", self.authority)),
            false => Self::parse(location),
        };
        target.map_err(|_| anyhow!("redirected to what is no URL"))
    }

    /// A reference in what came from here (RFC 3986 5.2); of dot segments only those before it count.
    pub fn join(&self, mut reference: &str) -> Result<Self> {
        if reference.starts_with('/') || reference.contains("://") {
            return self.redirected(reference);
        }
        let path = self.path.split('?').next().unwrap_or_default();
        let above = |path| str::rsplit_once(path, '/').map_or("", |(folder, _)| folder);
        let mut folder = above(path);
        while let Some(rest) = reference.strip_prefix("../") {
            (folder, reference) = (above(folder), rest);
        }
        self.redirected(&format!("{folder}/{reference}"))
    }

    /// The same with more in its query.
    pub fn with(&self, query: &str) -> Result<Self> {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        match query.is_empty() {
            true => Ok(self.clone()),
            false => Self::parse(&format!("{}{mark}{query}", self.url)),
        }
    }

    /// Whether its query has a parameter that begins so.
    pub fn has(&self, parameter: &str) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|pair| pair.starts_with(parameter))
    }

    /// The head of a request; `headers` are whole lines.
    pub fn request(&self, headers: &str) -> String {
        format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: {AGENT}\r\n{headers}\r\n",
            self.path, self.authority
        )
    }
}

/// How servers know who it is.
pub const AGENT: &str = concat!("weir-load/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whom_to_dial_and_what_to_ask() {
        let table = [
            ("http://a/b.flv?c=d", "a", 80, "/b.flv?c=d", false),
            ("http://[::1]:8080/b", "::1", 8080, "/b", false),
            ("https://a.example", "a.example", 443, "/", true),
        ];
        for (url, host, port, path, tls) in table {
            let target = Target::parse(url).unwrap();
            let said = (
                target.host.as_str(),
                target.port,
                target.path.as_str(),
                target.tls,
            );
            assert_eq!(said, (host, port, path, tls), "{url}");
        }
        for url in [
            "",
            "a/b",
            "rtmp://a/b",
            "http://",
            "http:///b",
            "http://a:99999/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_redirect_leads_elsewhere_or_to_another_path() {
        let from = Target::parse("http://a:81/b").unwrap();
        let url = |to: &str| from.redirected(to).unwrap().url;
        assert_eq!(url("http://c/d"), "http://c/d");
        assert_eq!(url("/d?e"), "http://a:81/d?e");
        assert!(from.redirected("d").is_err());
    }

    #[test]
    fn a_reference_is_taken_from_where_it_stands() {
        let from = Target::parse("http://a:81/live/x.m3u8?token=a/b").unwrap();
        let url = |to: &str| from.join(to).unwrap().url;
        assert_eq!(url("x/media.m3u8?s=1"), "http://a:81/live/x/media.m3u8?s=1");
        assert_eq!(url("../b/y.m3u8"), "http://a:81/b/y.m3u8");
        assert_eq!(url("/d"), "http://a:81/d");
        assert_eq!(url("http://c/d"), "http://c/d");
        let more = |query: &str| from.with(query).unwrap().url;
        assert_eq!(more("n=1"), "http://a:81/live/x.m3u8?token=a/b&n=1");
        assert_eq!(more(""), from.url);
        let bare = Target::parse("http://a").unwrap();
        assert_eq!(bare.join("b").unwrap().url, "http://a/b");
    }
}
