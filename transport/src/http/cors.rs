//! Answers that pages of any origin may read (Fetch standard, "HTTP extensions").
//!
//! For listeners that serve media: a player is on somebody else's page. They answer GET, HEAD and
//! OPTIONS, and no cache keeps what they say.

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};

use super::{Body, empty, problem};

/// Lets pages of any origin read this answer and its headers, and no cache keep it.
pub fn allow_any_page(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// What a page asks before it sends headers of its own (CORS-preflight).
pub fn preflight() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, value) in PREFLIGHT {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// The answer to any other method.
pub fn not_allowed() -> Response<Body> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", "");
    let methods = HeaderValue::from_static(METHODS);
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

const METHODS: &str = "GET, HEAD, OPTIONS";

/// A page follows a redirect only when the redirect itself allows its origin, and shows nothing of
/// a refusal that does not.
const ALWAYS: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "*"),
    (header::CACHE_CONTROL, "no-store"),
];

const PREFLIGHT: [(HeaderName, &str); 4] = [
    (header::ALLOW, METHODS),
    (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
    // The star does not stand for Authorization.
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, Authorization"),
    // A day; browsers cut it down to their own maximum.
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];
