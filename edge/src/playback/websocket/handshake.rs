//! Sans-IO: the opening handshake of a WebSocket (RFC 6455, section 4.2), the server's part.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header};

/// Whether the request asks to become a WebSocket.
pub(crate) fn is_asked(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_11
        && lists(headers, &header::CONNECTION, "upgrade")
        && lists(headers, &header::UPGRADE, "websocket")
}

/// The answer that makes it one; `None` when it is asked in no way that this end speaks.
pub(crate) fn accept(headers: &HeaderMap) -> Option<Response<()>> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    if headers.get(header::SEC_WEBSOCKET_VERSION)? != VERSION {
        return None;
    }
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let proof = HeaderValue::try_from(STANDARD.encode(proof)).expect("base64 is plain text");
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, proof),
    ];
    response.headers_mut().extend(answer);
    Some(response)
}

/// Whether a header's comma-separated lists name this token, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The only version there is (section 4.1).
pub(crate) const VERSION: &str = "13";

/// What a client's key is hashed with, to show that this end speaks WebSocket (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_browsers_ask_is_understood() {
        let check = |pairs: &[(&'static str, &'static str)], expect: bool| {
            let asked = is_asked(Version::HTTP_11, &headers(pairs));
            assert_eq!(asked, expect, "{pairs:?}");
        };
        check(&[("connection", "Upgrade"), ("upgrade", "websocket")], true);
        // As Firefox writes it.
        check(
            &[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "WebSocket"),
            ],
            true,
        );
        check(
            &[("connection", "keep-alive"), ("upgrade", "websocket")],
            false,
        );
        check(&[("connection", "upgrade"), ("upgrade", "h2c")], false);
        check(&[], false);
        let pairs = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert!(!is_asked(Version::HTTP_2, &headers(&pairs)));
    }

    #[test]
    fn the_answer_proves_what_the_rfc_asks() {
        // RFC 6455, section 1.3.
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        let answer = accept(&headers(&[key, version])).unwrap();
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        let proof = &answer.headers()[header::SEC_WEBSOCKET_ACCEPT];
        assert_eq!(proof, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(accept(&headers(&[key])).is_none());
        assert!(accept(&headers(&[version])).is_none());
        assert!(accept(&headers(&[key, ("sec-websocket-version", "8")])).is_none());
    }
}
