//! Sans-IO: the RTMP handshake.

/// Whether a connection that begins with this byte speaks TLS (a handshake record) and not RTMP.
pub fn looks_like_tls(first_byte: u8) -> bool {
    first_byte == 0x16
}
