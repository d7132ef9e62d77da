//! The public listener: redirects and their JSON form, HLS playlists and their steering, over HTTP.
//!
//! Every answer can be read by pages of any origin and is kept by no cache.

use std::net::{IpAddr, Ipv4Addr};

use cluster::token::Refusal;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use transport::http::{
    Body, allow_any_page, bearer, empty, full, json, not_allowed, peer, preflight, problem,
    unavailable,
};

use super::hls::EXTENSION;
use super::{Joined, Redirector, Refused, Request};
use crate::steering;

/// Answers one request of the public listener.
pub fn answer<B>(redirector: &Redirector, request: &http::Request<B>) -> Response<Body> {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => route(redirector, request),
        Method::OPTIONS => preflight(),
        _ => not_allowed(),
    };
    allow_any_page(response.headers_mut());
    response
}

fn route<B>(redirector: &Redirector, request: &http::Request<B>) -> Response<Body> {
    let forwarded: Vec<&str> = texts(request.headers(), &FORWARDED_FOR).collect();
    let asked = Request {
        peer: peer(request).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip()),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        forwarded: &forwarded,
        bearer: bearer(request.headers()),
    };
    let answer = match asked.path {
        RESOLVE => redirector
            .resolve(&asked)
            .map(|resolved| json(StatusCode::OK, &resolved)),
        path if path.starts_with(steering::PATH) => redirector
            .steering(&asked, rand::random())
            .map(|manifest| json(StatusCode::OK, &manifest)),
        path if path.ends_with(EXTENSION) => redirector.join(&asked).map(joined),
        _ => redirector.redirect(&asked).map(found),
    };
    answer.unwrap_or_else(|refused| {
        tracing::debug!(
            reason = refused.as_str(),
            path = asked.path,
            "viewer not redirected"
        );
        match refused {
            Refused::Token(Refusal::Expired) if asked.path.starts_with(steering::PATH) => gone(),
            refused => refuse(refused),
        }
    })
}

fn joined(joined: Joined) -> Response<Body> {
    let text = match joined {
        Joined::Location(location) => return found(location),
        Joined::Playlist(text) => text,
    };
    let mut response = Response::new(full(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(M3U8));
    response
}

fn found(location: String) -> Response<Body> {
    let Ok(location) = HeaderValue::try_from(location) else {
        return problem(StatusCode::BAD_REQUEST, "query cannot be passed on", "");
    };
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// The steering of a session that is over. To a player 410 says not to ask again, and no edge takes
/// the session either; other faults it tries to outlast. Nothing answers 429: hls.js 1.7 never asks
/// again after one, whatever `Retry-After` says.
fn gone() -> Response<Body> {
    problem(
        StatusCode::GONE,
        "session over",
        "ask for the playlist again",
    )
}

fn refuse(refused: Refused) -> Response<Body> {
    match refused {
        Refused::UnknownStream => problem(
            StatusCode::NOT_FOUND,
            "no such stream",
            "nobody publishes it now; ask for /app/stream.flv or /app/stream.m3u8",
        ),
        Refused::Token(_) => problem(StatusCode::FORBIDDEN, "not allowed", ""),
        Refused::NoEdge => {
            let detail = "every edge is down, draining, full or excluded; try again soon";
            unavailable("no edge", detail, RETRY_AFTER_S)
        }
        Refused::NoSession => problem(
            StatusCode::BAD_REQUEST,
            "no session",
            "the playlist names one",
        ),
        Refused::Stays => {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    }
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .map(|value| value.to_str().unwrap_or_default())
}

/// The media type of playlists (RFC 8216, section 4).
const M3U8: &str = "application/vnd.apple.mpegurl";

const RESOLVE: &str = "/api/v1/resolve";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Two samples later the answer may be another one.
const RETRY_AFTER_S: u32 = 2;
