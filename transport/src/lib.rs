//! Sockets and everything between a socket and a request: listeners, limits, TLS, QUIC
//! endpoints, the HTTP server and client, the admin listener, draining and clocks.
//!
//! Alone knows hyper's connections, axum and rustls; it knows nothing of streams or nodes.
//! The `http`, `http-body` and `bytes` types are free to all.

pub mod accept;
pub mod admin;
pub mod causes;
pub mod clock;
pub mod config;
pub mod drain;
pub mod http;
pub mod limit;
pub mod quic;
pub mod router;
pub mod tls;
