//! Hot: RTMP over TCP and TLS: a thin shell that moves bytes between sockets and the session.

pub mod chunk;
pub mod client;
pub mod command;
pub mod handshake;
pub mod link;
pub mod message;
pub mod session;
