//! Sans-IO: which stream an RTMP URL names, however the peer's software cut it up.
//!
//! `rtmp://host/live/x?token=y` comes as application `live` and name `x?token=y` from most, but an
//! encoder with separate fields may send `live?token=y` and `x`, or put the query into `tcUrl`
//! alone, and ffmpeg cuts `live/a/x` elsewhere than OBS. So the application and the name are joined
//! into one path again: its last segment is the stream, the rest the application. Flash Media
//! Server's instance name `_definst_` is left out.

/// Which stream a peer asked for, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// All of the path but its last segment, as in `live`; empty when there is only one.
    pub app: String,
    /// The last segment of the path; empty when the peer named no stream.
    pub stream: String,
    /// The query, percent-decoded: of the name first, then of the application, then of the URL.
    pub query: Vec<(String, String)>,
    /// What the peer's software calls itself (`flashVer`).
    pub agent: String,
}

impl Target {
    /// From the `app` and `tcUrl` of `connect` and the name in `publish` or `play`.
    pub fn new(app: &str, tc_url: &str, name: &str) -> Self {
        let (app, app_query) = split_query(app);
        let (name, name_query) = split_query(name);
        let (_, url_query) = split_query(tc_url);
        let mut path = segments(app);
        let name = segments(name);
        let is_named = !name.is_empty();
        path.extend(name);
        let stream = path.pop_if(|_| is_named).unwrap_or_default();
        let query = [name_query, app_query, url_query]
            .iter()
            .flat_map(|query| query.split('&'))
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (decode(key), decode(value)))
            .take(MAX_PARAMETERS)
            .collect();
        Self {
            app: path.join("/"),
            stream: stream.to_owned(),
            query,
            agent: String::new(),
        }
    }

    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != "_definst_")
        .collect()
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// Percent-decoding (RFC 3986 section 2.1), once; what is no valid escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes[at..]
            .strip_prefix(b"%")
            .and_then(|rest| rest.first_chunk::<2>());
        match escape.and_then(hex) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? * 16 + low?) as u8)
}

/// More than any URL needs.
const MAX_PARAMETERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_same_however_it_is_cut() {
        let rows = [
            ("live", "x", "live", "x"),
            ("live/", "/x", "live", "x"),
            ("/live", "x", "live", "x"),
            ("live/_definst_", "x", "live", "x"),
            ("live/a", "x", "live/a", "x"),
            ("live", "a/x", "live/a", "x"),
            ("", "live/x", "live", "x"),
            ("live", "", "live", ""),
            ("", "x", "", "x"),
            ("", "", "", ""),
            ("live", "/", "live", ""),
        ];
        for (app, name, want_app, want_stream) in rows {
            let target = Target::new(app, "", name);
            assert_eq!(
                (&*target.app, &*target.stream),
                (want_app, want_stream),
                "{app} {name}"
            );
        }
    }

    #[test]
    fn the_query_is_found_wherever_it_is() {
        let url = "rtmp://host/live";
        let rows = [
            ("live", url, "x?token=y", Some("y")),
            ("live?token=y", url, "x", Some("y")),
            ("live", "rtmp://host/live?token=y", "x", Some("y")),
            (
                "live?token=app",
                "rtmp://host/live?token=url",
                "x?token=name",
                Some("name"),
            ),
            ("live?a=b&token=y&c", url, "x", Some("y")),
            ("live", url, "x?token=a%2Fb%3d", Some("a/b=")),
            ("live", url, "x?token=%zz%", Some("%zz%")),
            ("live", url, "x?token", Some("")),
            ("live", url, "x?tokens=y", None),
            ("live", url, "x", None),
        ];
        for (app, url, name, want) in rows {
            assert_eq!(
                Target::new(app, url, name).param("token"),
                want,
                "{app} {url} {name}"
            );
        }
    }
}
