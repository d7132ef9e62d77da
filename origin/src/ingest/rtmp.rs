//! Hot: RTMP over TCP and TLS: a thin shell that moves bytes between sockets and the session.
