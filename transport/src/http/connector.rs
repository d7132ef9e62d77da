//! How the client reaches a server: TCP to any of its addresses, then TLS for `https`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::BoxError;
use crate::tls::{self, ClientConfig, NODE_NAME};

/// Connects for hyper's client.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<Arc<ClientConfig>>,
    name: ServerName,
}

/// Which name a server's certificate must carry.
#[derive(Clone, Copy)]
pub(super) enum ServerName {
    /// The one in the URL.
    Host,
    /// Every node's: [`NODE_NAME`].
    Node,
}

impl Connector {
    pub(super) fn new(tls: Option<ClientConfig>, name: ServerName) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self {
            tcp,
            tls: tls.map(Arc::new),
            name,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Io, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let encrypted = uri.scheme_str() == Some("https");
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let (tls, name) = (self.tls.clone(), self.name);
        let dial = self.tcp.call(uri);
        Box::pin(async move {
            if !encrypted {
                return Ok(Io(TokioIo::new(tls::Stream::Plain(
                    dial.await?.into_inner(),
                ))));
            }
            let config = tls.ok_or("https needs a cluster identity or a trusted certificate")?;
            let name = match name {
                ServerName::Host => host.as_str(),
                ServerName::Node => NODE_NAME,
            };
            let stream = tls::connect(config, name, dial.await?.into_inner()).await?;
            Ok(Io(TokioIo::new(stream)))
        })
    }
}

/// A connected stream, as hyper's client wants it.
pub(super) struct Io(TokioIo<tls::Stream<TcpStream>>);

impl Connection for Io {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.0.inner().is_h2() {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Time to reach a server over all its addresses: three SYNs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
