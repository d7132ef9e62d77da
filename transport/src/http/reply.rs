//! Responses written without hyper, on connections that end with them.
//!
//! The end of a body without a length is the connection's (RFC 9112, section 6.3).

use std::io;
use std::time::{Duration, SystemTime};

use ::http::{HeaderValue, Response, header};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Body;
use super::take::Place;

/// The bytes of a response's head, for a body that ends with the connection.
pub fn head<B>(response: &Response<B>) -> Bytes {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = BytesMut::with_capacity(HEAD_BYTES);
    let date = httpdate::fmt_http_date(SystemTime::now());
    for part in [
        "HTTP/1.1 ",
        status.as_str(),
        " ",
        reason,
        "\r\ndate: ",
        &date,
    ] {
        head.put_slice(part.as_bytes());
    }
    head.put_slice(b"\r\nconnection: close\r\n");
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.put_slice(part);
        }
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// Writes a whole response, whose body is there at once, and ends the connection.
pub(super) async fn say(stream: TcpStream, _place: Place, response: Response<Body>) {
    let (mut parts, body) = response.into_parts();
    let Ok(Ok(body)) = timeout(PATIENCE, body.collect()).await else {
        return;
    };
    let body = body.to_bytes();
    let length = HeaderValue::from(body.len());
    parts.headers.insert(header::CONTENT_LENGTH, length);
    let mut bytes = BytesMut::from(head(&Response::from_parts(parts, ())));
    bytes.put_slice(&body);
    part(stream, &bytes).await;
}

/// Writes the last bytes of a connection; a peer too slow for them loses nothing by being cut off.
pub(super) async fn part(stream: TcpStream, bytes: &[u8]) {
    let _ = timeout(PATIENCE, finish(stream, bytes)).await;
}

/// Writes, then reads what the peer still sends: closing a socket with unread bytes would reset
/// it and could destroy the answer on its way (RFC 9112, section 9.6).
async fn finish(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Time to take a short answer: one round trip anywhere on Earth.
const PATIENCE: Duration = Duration::from_secs(1);

/// Room for what such heads are, so that they are written without moving.
const HEAD_BYTES: usize = 1 << 10;
