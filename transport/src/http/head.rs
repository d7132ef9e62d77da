//! Sans-IO: the head of a connection's first request, looked at before hyper sees it.
//!
//! Only a plain GET is of interest: HTTP/1.x, without a body, an upgrade or an expectation. All
//! else, malformed heads too, is [`Sight::Other`] as early as that is certain: hyper gets the bytes
//! and answers. A head is parsed once, when its end is there, so that a peer who sends it byte by
//! byte costs no more than one who sends it whole.

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request, Uri, Version};

/// What the bytes that came so far are.
#[derive(Debug)]
pub(super) enum Sight {
    /// The beginning of what may become a plain GET.
    Partial,
    /// The head of a plain GET; what comes after it is left unread.
    Get(Box<Request<()>>),
    /// Nothing of interest here.
    Other,
}

/// Looks at the bytes, of which the first `seen` were [`Sight::Partial`].
/// A head has at most `fields` fields.
pub(super) fn look(bytes: &[u8], seen: usize, fields: usize) -> Sight {
    let known = bytes.len().min(GET.len());
    if bytes[..known] != GET[..known] {
        return Sight::Other;
    }
    if !ends(&bytes[seen.saturating_sub(OVERLAP)..]) {
        return Sight::Partial;
    }
    match parse(bytes, fields) {
        Some(request) if is_plain(request.headers()) => Sight::Get(Box::new(request)),
        _ => Sight::Other,
    }
}

/// Whether an empty line is in there; a line may end without CR (RFC 9112, section 2.2).
fn ends(bytes: &[u8]) -> bool {
    let mut lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.any(|(at, _)| bytes[at + 1..].starts_with(b"\n") || bytes[at + 1..].starts_with(b"\r\n"))
}

fn parse(bytes: &[u8], fields: usize) -> Option<Request<()>> {
    let mut fields = vec![httparse::EMPTY_HEADER; fields];
    let mut head = httparse::Request::new(&mut fields);
    if !head.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::try_from(head.path?).ok()?;
    *request.version_mut() = match head.version? {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let headers = request.headers_mut();
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request)
}

/// Whether nothing but the response follows such a head.
fn is_plain(headers: &HeaderMap) -> bool {
    let bodiless = headers.get_all(header::CONTENT_LENGTH).iter();
    let has = |name| headers.contains_key(name);
    bodiless.into_iter().all(|length| length == "0")
        && !has(header::TRANSFER_ENCODING)
        && !has(header::UPGRADE)
        && !has(header::EXPECT)
}

/// How every request of interest begins.
const GET: &[u8] = b"GET ";

/// Bytes before the new ones that may belong to the empty line: its LF, CR.
const OVERLAP: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: usize = 8;

    /// The request's target, version and number of fields, or what else the bytes are.
    fn told(sight: Sight) -> String {
        match sight {
            Sight::Partial => "partial".to_owned(),
            Sight::Other => "other".to_owned(),
            Sight::Get(request) => {
                let (uri, version) = (request.uri(), request.version());
                format!("{uri} {version:?} {}", request.headers().len())
            }
        }
    }

    #[test]
    fn a_plain_get_is_told_from_all_else() {
        let check = |bytes: &str, expect: &str| {
            let sight = told(look(bytes.as_bytes(), 0, FIELDS));
            assert_eq!(sight, expect, "{bytes:?}");
        };
        for partial in [
            "",
            "G",
            "GET ",
            "GET /a HTTP/1.1\r\n",
            "GET /a HTTP/1.1\r\nHost: x\r\n\r",
        ] {
            check(partial, "partial");
        }
        check(
            "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
            "/a?b=c HTTP/1.1 1",
        );
        check("GET /a HTTP/1.0\r\n\r\n", "/a HTTP/1.0 0");
        check("GET /a HTTP/1.1\nHost: x\n\n", "/a HTTP/1.1 1");
        check(
            "GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "http://x/a HTTP/1.1 1",
        );
        check(
            "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            "/a HTTP/1.1 0",
        );
        check(
            "GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "/a HTTP/1.1 1",
        );
        for other in [
            "P",
            "GEX",
            "HEAD /a HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\r\nGET /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/2.0\r\n\r\n",
            "GET /a\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nnot a field\r\n\r\n",
            "GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            "GET /a HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n",
            "GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
        ] {
            check(other, "other");
        }
        let head = |fields| format!("GET /a HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(fields));
        check(&head(FIELDS), "/a HTTP/1.1 8");
        check(&head(FIELDS + 1), "other");
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            seen in 0_usize..200,
        ) {
            let text = [b"GET /a HTTP/1.1\r\n", bytes.as_slice()].concat();
            for bytes in [&bytes, &text] {
                look(bytes, seen.min(bytes.len()), FIELDS);
            }
        }

        #[test]
        fn how_a_head_is_cut_changes_nothing(
            fields in proptest::collection::vec("[A-Za-z]{1,5}: [ -~]{0,9}(\r\n|\n)", 0..10),
            end in "\r\n|\n",
            step in 1_usize..9,
        ) {
            let text = format!("GET /a HTTP/1.1\r\n{}{end}", fields.concat());
            let whole = told(look(text.as_bytes(), 0, FIELDS));
            let mut seen = 0;
            let cut = loop {
                let have = (seen + step).min(text.len());
                let sight = told(look(&text.as_bytes()[..have], seen, FIELDS));
                if sight != "partial" || have == text.len() {
                    break sight;
                }
                seen = have;
            };
            prop_assert_eq!(whole, cut);
        }
    }
}
