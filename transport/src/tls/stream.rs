//! One byte stream that is plain or TLS, either side, and the handshakes that make it.
//!
//! Hot: media to viewers passes here; vectored writes go through unchanged. A handshake has a
//! deadline, so that a silent peer holds no task.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{ClientConfig, ServerConfig, peer_name};

/// Time for a handshake: three round trips of the slowest links, with losses.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that is plain or encrypted.
#[derive(Debug)]
pub enum Stream<T = TcpStream> {
    /// Bytes as they are.
    Plain(T),
    /// TLS, as server or client.
    Tls(Box<TlsStream<T>>),
}

impl<T> Stream<T> {
    /// The node id in the peer's verified certificate, if it showed one.
    pub fn peer_name(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => peer_name(tls.get_ref().1.peer_certificates()?),
        }
    }

    /// Whether HTTP/2 was agreed on by ALPN.
    pub fn is_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// Takes the server's part of a handshake.
pub async fn accept<T>(config: Arc<ServerConfig>, stream: T) -> io::Result<Stream<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(config).accept(stream);
    let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??;
    Ok(Stream::Tls(Box::new(tls.into())))
}

/// Takes the client's part of a handshake with the server of that name.
pub async fn connect<T>(config: Arc<ClientConfig>, name: &str, stream: T) -> io::Result<Stream<T>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??;
    Ok(Stream::Tls(Box::new(tls.into())))
}

/// Serves plain and TLS clients on one port: a TLS record of a handshake begins with byte 22
/// (RFC 8446 section 5.1), which no protocol of ours begins with.
pub async fn sniff(stream: TcpStream, config: Option<Arc<ServerConfig>>) -> io::Result<Stream> {
    let Some(config) = config else {
        return Ok(Stream::Plain(stream));
    };
    let mut first = [0];
    let read = tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await??;
    if read == 1 && first[0] == TLS_HANDSHAKE {
        accept(config, stream).await
    } else {
        Ok(Stream::Plain(stream))
    }
}

const TLS_HANDSHAKE: u8 = 22;

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}
