//! HLS over HTTP: who may have a playlist or a piece, and how caches in front may keep it.
//!
//! Playlists carry the session: the first request of one takes a place by the same admission as FLV, all others are
//! that viewer's. A session is signed, so any edge goes on with one that another began. Pieces are the same bytes for
//! everybody, and nobody is counted by them; what they cost is counted when it is written.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use cluster::hls::{Multivariant, Variant, stable_id};
use cluster::region::Region;
use cluster::stream::StreamKey;
use cluster::token::{Action, Attempt, Claims, Pattern, Refusal, new_sid};
use futures_util::future::join_all;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use transport::http::{Body, body, empty, problem, unavailable};

use super::request::hls::{Asset, Wish};
use super::{Entrant, Public, Turned, client, not_joined};
use crate::admit::{Reason, Verdict};
use crate::meter::Metrics;
use crate::playback::hls::session::Proof;
use crate::playback::hls::{Absent, Auth, Form, Piece, Reload, View};
use crate::viewer::Sent;

/// Whose a request is.
struct Session {
    sid: String,
    /// What proves it, in the addresses of playlists.
    signed: String,
    /// What it joined by.
    claims: Option<Claims>,
    /// Where its viewer is.
    region: Region,
    /// Its expiry, if it was verified just now.
    verified_until_s: Option<u64>,
}

impl Public {
    /// Answers a request for HLS.
    pub(super) async fn hls(&self, request: &Parts, wish: Wish) -> Response<Body> {
        self.planned().await;
        let from = client(request);
        let (kind, answer) = match wish.asset {
            Asset::Multivariant => ("multivariant", self.multivariant(&wish, from).await),
            Asset::Media(reload) => {
                let gzip = takes_gzip(&request.headers);
                ("media", self.media(&wish, reload, from, gzip).await)
            }
            Asset::Piece(piece) => (kind(piece), self.piece(&wish, piece, from).await),
        };
        let (response, result) = match answer {
            Ok((response, result)) => (response, result),
            Err(turned) => (*turned, "error"),
        };
        self.metrics.hls_answered(kind, result);
        response
    }

    async fn multivariant(&self, wish: &Wish, from: IpAddr) -> Answer {
        let session = self.session(wish, from)?;
        self.seat(wish, &session, from)?;
        let rungs = self.hls.rungs(&wish.stream);
        let variants = join_all(rungs.iter().map(|rung| self.variant(rung, wish, &session))).await;
        let (variants, failures): (Vec<_>, Vec<_>) = variants.into_iter().partition(Result::is_ok);
        if let ([], Some(Err(absent))) = (variants.as_slice(), failures.into_iter().next()) {
            self.sessions.fail(&session.sid);
            return Err(self.absent(absent));
        }
        let mut variants: Vec<_> = variants.into_iter().flatten().collect();
        if session.claims.as_ref().is_some_and(|it| it.sheds_top) {
            shed_top(&mut variants);
        }
        let playlist = Multivariant {
            variants,
            steering: None,
            independent_segments: false,
        };
        // It names the session, so no cache keeps it.
        let text = Bytes::from(playlist.to_string());
        Ok((self.bytes(&wish.stream, [text], PLAYLIST), "made"))
    }

    /// One rung, as it is on air.
    async fn variant(
        &self,
        rung: &StreamKey,
        wish: &Wish,
        session: &Session,
    ) -> Result<Variant, Absent> {
        // One that has ended is nothing to begin with.
        self.hls.show(rung).await?;
        let view = self.hls.playable(rung, None).await?;
        let (peak_bps, average_bps) = view.rates();
        let about = view.about()?;
        let base = match rung.app() == wish.stream.app() {
            true => rung.name().to_owned(),
            false => format!("../{rung}"),
        };
        Ok(Variant {
            uri: format!("{base}/media.m3u8?session={}", session.signed),
            stable_id: stable_id(rung),
            codecs: about.codecs.clone(),
            width: about.width,
            height: about.height,
            frame_rate_milli: about.frame_rate_milli,
            bandwidth_bps: peak_bps,
            average_bps,
        })
    }

    async fn media(&self, wish: &Wish, reload: Reload, from: IpAddr, gzip: bool) -> Answer {
        let session = self.session(wish, from)?;
        self.seat(wish, &session, from)?;
        if wish.session.is_none() {
            let location = wish.path_and_query(Some(&session.signed));
            return Ok((found(&location), "redirected"));
        }
        let view = self.hls.playable(&wish.stream, reload.at).await;
        let view = view.map_err(|absent| {
            self.sessions.fail(&session.sid);
            self.absent(absent)
        })?;
        let (target, is_ended) = (view.target(), view.is_ended());
        self.sessions.watches(&session.sid, target, is_ended);
        let form = Form {
            skip: reload.skip,
            gzip,
        };
        let text = view.text(form, &session.signed);
        let mut response = self.bytes(&wish.stream, [text], PLAYLIST);
        let headers = response.headers_mut();
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        let kept = playlist_lifetime(&view, reload, self.hls.auth());
        headers.insert(header::CACHE_CONTROL, kept);
        Ok((response, "made"))
    }

    async fn piece(&self, wish: &Wish, piece: Piece, from: IpAddr) -> Answer {
        if self.hls.auth() == Auth::Token {
            let token = wish.token.as_deref().ok_or(Refusal::Missing);
            let held = token.and_then(|token| self.may_hold(token, wish, from));
            held.map_err(|refusal| self.forbidden(refusal))?;
        }
        let found = self.hls.piece(&wish.stream, piece).await;
        let found = found.map_err(|absent| self.absent(absent))?;
        let pieces: VecDeque<Bytes> = found.made.pieces.iter().cloned().collect();
        let mut response = self.bytes(&wish.stream, pieces, "video/mp4");
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
        // RFC 9211.
        let status = match found.hit {
            true => format!("\"{}\"; hit", self.node),
            false => format!("\"{}\"; fwd=uri-miss; stored", self.node),
        };
        if let Ok(status) = HeaderValue::try_from(status) {
            headers.insert(CACHE_STATUS, status);
        }
        Ok((response, if found.hit { "hit" } else { "miss" }))
    }

    /// The session that the request names, or a new one for a token that is good.
    fn session(&self, wish: &Wish, from: IpAddr) -> Result<Session, Turned> {
        let made = match &wish.session {
            Some(signed) => self.known(signed, wish, from),
            None => self.begin(wish, from),
        };
        made.map_err(|refusal| self.forbidden(refusal))
    }

    fn known(&self, signed: &str, wish: &Wish, from: IpAddr) -> Result<Session, Refusal> {
        let known = |sid, region, claims: Option<Claims>| Session {
            sid,
            signed: signed.to_owned(),
            verified_until_s: claims.as_ref().map(|claims| claims.exp_s),
            claims,
            region,
        };
        if let Some((sid, region)) = self.proven(signed, wish, from) {
            return Ok(known(sid, region, None));
        }
        let claims = self.hold(signed, &wish.stream, from)?;
        let sid = claims.sid.clone().ok_or(Refusal::NoSession)?;
        let region = claims.region.unwrap_or_default();
        Ok(known(sid, region, Some(claims)))
    }

    /// Whether a session lets its holder have segments.
    fn may_hold(&self, signed: &str, wish: &Wish, from: IpAddr) -> Result<(), Refusal> {
        match self.proven(signed, wish, from) {
            Some(_) => Ok(()),
            None => self.hold(signed, &wish.stream, from).map(drop),
        }
    }

    fn proven(&self, signed: &str, wish: &Wish, from: IpAddr) -> Option<(String, Region)> {
        let now_s = self.now_s();
        self.sessions.proven(signed, &wish.stream, from, now_s)
    }

    fn hold(&self, signed: &str, stream: &StreamKey, from: IpAddr) -> Result<Claims, Refusal> {
        let attempt = self.attempt(stream, from);
        self.gate.session(signed, &attempt, self.now_s())
    }

    fn begin(&self, wish: &Wish, from: IpAddr) -> Result<Session, Refusal> {
        let attempt = self.attempt(&wish.stream, from);
        let claims = self
            .gate
            .check(wish.token.as_deref(), &attempt, self.now_s())?;
        let region = claims.as_ref().and_then(|claims| claims.region);
        let region = region.unwrap_or_default();
        // A session that is shown as a token stays what it is: it is not prolonged by that.
        if let (
            Some(Claims {
                sid: Some(sid),
                edges: None,
                ..
            }),
            Some(token),
        ) = (&claims, &wish.token)
        {
            return Ok(Session {
                sid: sid.clone(),
                signed: token.clone(),
                region,
                claims,
                verified_until_s: None,
            });
        }
        let sid = claims.as_ref().and_then(|claims| claims.sid.clone());
        let sid = sid.unwrap_or_else(new_sid);
        let streams = Pattern::with_rungs(&wish.stream, &self.hls.rungs(&wish.stream));
        let session = self
            .gate
            .session_claims(streams, sid.clone(), claims.as_ref(), self.now_s());
        Ok(Session {
            sid,
            signed: self.gate.sign(&session),
            claims,
            region,
            verified_until_s: None,
        })
    }

    fn attempt<'a>(&'a self, stream: &'a StreamKey, client: IpAddr) -> Attempt<'a> {
        Attempt {
            action: Action::Play,
            stream,
            node: Some(&self.node),
            client,
        }
    }

    /// Sees to it that the session has its place.
    fn seat(&self, wish: &Wish, session: &Session, from: IpAddr) -> Result<(), Turned> {
        self.place(wish, session, from)?;
        if let Some(until_s) = session.verified_until_s {
            let (sid, stream) = (session.sid.clone(), wish.stream.clone());
            let client = from;
            let proof = Proof {
                sid,
                region: session.region,
                stream,
                client,
                until_s,
            };
            self.sessions.prove(&session.signed, proof);
        }
        Ok(())
    }

    fn place(&self, wish: &Wish, session: &Session, from: IpAddr) -> Result<(), Turned> {
        if self.sessions.touch(&session.sid, &wish.stream) {
            return Ok(());
        }
        let entrant = Entrant {
            stream: &wish.stream,
            claims: Ok(session.claims.as_ref()),
            session: Some(&session.sid),
            region: session.region,
            client: from,
        };
        if !self.sessions.has_room() {
            let full = Verdict::Refuse(Reason::Viewers);
            return Err(Box::new(self.turn_away(&entrant, &full, String::new)));
        }
        let place = self.admit(&entrant, || wish.path_and_query(wish.session.as_deref()))?;
        self.sessions.begin(&session.sid, place);
        Ok(())
    }

    fn forbidden(&self, refusal: Refusal) -> Turned {
        self.metrics.refuse(refusal.as_str());
        Box::new(problem(StatusCode::FORBIDDEN, "forbidden", ""))
    }

    fn absent(&self, absent: Absent) -> Turned {
        self.metrics.refuse(absent.as_str());
        let detail = absent.to_string();
        Box::new(match absent {
            Absent::Stream(failure) => not_joined(failure),
            Absent::Gone => problem(StatusCode::NOT_FOUND, "not found", &detail),
            Absent::Ahead => problem(StatusCode::BAD_REQUEST, "too far ahead", &detail),
            Absent::Late | Absent::Crowded => unavailable("not now", &detail, 1),
            Absent::Codec(_) => problem(StatusCode::NOT_ACCEPTABLE, "codec not playable", &detail),
        })
    }

    /// An answer of these bytes, counted when they are written.
    fn bytes(
        &self,
        stream: &StreamKey,
        pieces: impl Into<VecDeque<Bytes>>,
        kind: &'static str,
    ) -> Response<Body> {
        let pieces: VecDeque<Bytes> = pieces.into();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        let chain = Chain {
            pieces,
            left,
            sent: self.viewers.pieces(stream),
            metrics: self.metrics.clone(),
        };
        let mut response = Response::new(body(chain));
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// An answer and how it came about, or one that sends the request away.
type Answer = Result<(Response<Body>, &'static str), Turned>;

fn kind(piece: Piece) -> &'static str {
    match piece {
        Piece::Init { .. } => "init",
        Piece::Segment { .. } => "segment",
        Piece::Part { .. } => "part",
    }
}

fn found(location: &str) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// How long a cache may keep a media playlist (rfc8216bis, appendix B.1): one that was waited for is the answer to its
/// address for as long as it is useful; any other is old as soon as there is a new part.
/// With segment tokens the text is one session's.
fn playlist_lifetime(view: &View, reload: Reload, auth: Auth) -> HeaderValue {
    let seconds = match reload.at {
        Some(_) => view.target().as_secs().saturating_mul(KEPT_TARGETS),
        None => 1,
    };
    let whose = match auth {
        Auth::None => "public",
        Auth::Token => "private",
    };
    let text = format!("{whose}, max-age={seconds}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
}

/// Whether the client takes gzip (RFC 9110, section 12.5.3): it is named, and not with a weight of 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.into_iter().any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let name = name.trim();
        let weight = weight.trim().strip_prefix("q=");
        let refused = weight.and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
    })
}

/// Bytes that are there, piece by piece.
struct Chain {
    pieces: VecDeque<Bytes>,
    left: u64,
    /// What was written of this stream.
    sent: Sent,
    metrics: Metrics,
}

impl HttpBody for Chain {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        self.left -= piece.len() as u64;
        self.metrics.egress_bytes.inc_by(piece.len() as u64);
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Takes the rung of most bits away, unless it is the only one.
fn shed_top(variants: &mut Vec<Variant>) {
    let rungs = variants.iter().enumerate();
    let top = rungs.max_by_key(|(_, variant)| variant.bandwidth_bps);
    if let (Some((top, _)), true) = (top, variants.len() > 1) {
        variants.remove(top);
    }
}

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// The name of a piece is never used for other bytes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Target durations for which a playlist that was waited for is kept.
const KEPT_TARGETS: u64 = 6;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rung_of_most_bits_is_shed_unless_it_is_the_only_one() {
        let variant = |bandwidth_bps| Variant {
            uri: String::new(),
            stable_id: String::new(),
            codecs: String::new(),
            width: 0,
            height: 0,
            frame_rate_milli: 0,
            bandwidth_bps,
            average_bps: 0,
        };
        let left = |rates: &[u64]| {
            let mut variants: Vec<_> = rates.iter().copied().map(variant).collect();
            shed_top(&mut variants);
            let rates = variants.iter().map(|it| it.bandwidth_bps);
            rates.collect::<Vec<_>>()
        };
        assert_eq!(left(&[2, 5, 1]), [2, 1]);
        assert_eq!((left(&[2]), left(&[])), (vec![2], vec![]));
    }
}
