//! Sans-IO: the RTMP chunk stream.
