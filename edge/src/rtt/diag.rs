//! Sans-IO: the questions and answers of `sock_diag(7)` about established TCP connections.
//!
//! A dump of `inet_diag_msg` with the attribute `INET_DIAG_INFO`, which is `struct tcp_info` (linux/inet_diag.h,
//! linux/tcp.h). Numbers are the machine's own, ports and addresses the network's. Kernels only add behind what is
//! read here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Which addresses a dump is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Connections of IPv4 sockets.
    V4 = 2,
    /// Those of IPv6 sockets, which may have IPv4 addresses.
    V6 = 10,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// The other end.
    pub(super) peer: SocketAddr,
    /// The smoothed round-trip time; 0 before it was measured.
    pub(super) rtt_us: u32,
    /// Segments with data that were sent, again or for the first time, since it began; 0 where the
    /// kernel does not count them.
    pub(super) segments: u32,
    /// Those that were sent again.
    pub(super) resent: u32,
}

/// Why an answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// The kernel cannot or will not say.
    #[error("the kernel does not tell of connections (error {0})")]
    Refused(i32),
    /// Not what a kernel answers.
    #[error("the kernel's answer about connections is malformed")]
    Malformed,
}

/// Asks for all established connections to a local port.
pub(super) fn question(family: Family, port: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(QUESTION);
    out.extend((QUESTION as u32).to_ne_bytes());
    out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend(REQUEST_DUMP.to_ne_bytes());
    // Number and sender: there is one question at a time, and the kernel knows who asks.
    out.extend([0; 8]);
    out.extend([family as u8, TCP, 1 << (INFO - 1), 0]);
    out.extend(ESTABLISHED.to_ne_bytes());
    out.extend(port.to_be_bytes());
    out.resize(QUESTION, 0);
    out
}

/// Reads one datagram of an answer; whether it was the last.
pub(super) fn answer(mut bytes: &[u8], mut each: impl FnMut(Connection)) -> Result<bool, Error> {
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0)? as usize;
        let message = bytes.get(HEADER..length).ok_or(Error::Malformed)?;
        match u16_at(bytes, 4)? {
            DONE => return Ok(true),
            ERROR => return Err(Error::Refused(-(u32_at(message, 0)? as i32))),
            SOCK_DIAG_BY_FAMILY => {
                if let Some(connection) = connection(message)? {
                    each(connection);
                }
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

fn connection(message: &[u8]) -> Result<Option<Connection>, Error> {
    let peer = &message.get(PEER..PEER + 16).ok_or(Error::Malformed)?;
    let ip = match message[0] {
        2 => IpAddr::from([peer[0], peer[1], peer[2], peer[3]]),
        _ => {
            let peer: [u8; 16] = (*peer).try_into().map_err(|_| Error::Malformed)?;
            Ipv6Addr::from(peer).to_canonical()
        }
    };
    let port = u16::from_be_bytes([message[PEER_PORT], message[PEER_PORT + 1]]);
    let mut attributes = message.get(MESSAGE..).ok_or(Error::Malformed)?;
    while attributes.len() >= ATTRIBUTE {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE..length).ok_or(Error::Malformed)?;
        if u16_at(attributes, 2)? == u16::from(INFO) {
            return Ok(Some(Connection {
                peer: SocketAddr::new(ip, port),
                rtt_us: u32_at(value, RTT)?,
                segments: u32_at(value, SEGMENTS).unwrap_or(0),
                resent: u32_at(value, RESENT).unwrap_or(0),
            }));
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(None)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Error> {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    found
        .map(|it| u16::from_ne_bytes(*it))
        .ok_or(Error::Malformed)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    found
        .map(|it| u32::from_ne_bytes(*it))
        .ok_or(Error::Malformed)
}

/// `nlmsghdr`, and with `inet_diag_req_v2` behind it.
const HEADER: usize = 16;
const QUESTION: usize = HEADER + 56;
/// `NLMSG_ERROR`, `NLMSG_DONE`, and the message of `sock_diag`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;
const TCP: u8 = 6;
/// `1 << TCP_ESTABLISHED`.
const ESTABLISHED: u32 = 1 << 1;
/// `INET_DIAG_INFO`.
const INFO: u8 = 2;
/// In `inet_diag_msg`: the peer's port and address, and the message's length.
const PEER_PORT: usize = 6;
const PEER: usize = 24;
const MESSAGE: usize = 72;
/// `rtattr`.
const ATTRIBUTE: usize = 4;
/// `tcpi_rtt`, `tcpi_total_retrans` and `tcpi_data_segs_out` in `tcp_info`.
const RTT: usize = 68;
const RESENT: usize = 100;
const SEGMENTS: usize = 156;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out
    }

    fn told(family: Family, address: &[u8], port: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; MESSAGE];
        body[0] = family as u8;
        body[PEER_PORT..PEER_PORT + 2].copy_from_slice(&port.to_be_bytes());
        body[PEER..PEER + address.len()].copy_from_slice(address);
        for (kind, value) in attributes {
            body.extend(((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        message(SOCK_DIAG_BY_FAMILY, &body)
    }

    fn info(rtt_us: u32) -> Vec<u8> {
        let mut info = vec![7; 248];
        for (at, value) in [(RTT, rtt_us), (SEGMENTS, 1_000), (RESENT, 20)] {
            info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        info
    }

    #[test]
    fn connections_are_read_with_their_round_trip_times() {
        let mapped = "::ffff:192.0.2.9".parse::<Ipv6Addr>().unwrap().octets();
        let six = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        let all = [
            told(
                Family::V4,
                &[192, 0, 2, 7],
                5000,
                &[(1, b"mem"), (2, &info(12_000))],
            ),
            // Kernels before 4.6 do not count segments.
            told(Family::V6, &mapped, 5001, &[(2, &info(7)[..SEGMENTS])]),
            told(Family::V6, &six, 5002, &[(2, &info(90_000)), (9, b"x")]),
            told(Family::V4, &[192, 0, 2, 8], 5003, &[]),
        ];
        let mut seen = Vec::new();
        let mut each = |it: Connection| {
            let counts = (it.segments, it.resent);
            seen.push((it.peer.to_string(), it.rtt_us, counts));
        };
        assert_eq!(answer(&all.concat(), &mut each), Ok(false));
        assert_eq!(answer(&message(DONE, &[0; 4]), &mut each), Ok(true));
        let expected = [
            ("192.0.2.7:5000", 12_000, (1_000, 20)),
            ("192.0.2.9:5001", 7, (0, 20)),
            ("[2001:db8::7]:5002", 90_000, (1_000, 20)),
        ];
        let expected = expected.map(|(peer, rtt, counts)| (peer.to_owned(), rtt, counts));
        assert_eq!(seen, expected);
        let refused = message(ERROR, &(-13_i32).to_ne_bytes());
        assert_eq!(answer(&refused, |_| ()), Err(Error::Refused(13)));
        assert_eq!(question(Family::V6, 8080).len(), 72);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            garbage in proptest::collection::vec(any::<u8>(), 0..300),
            at in 0..400usize,
            byte in any::<u8>(),
        ) {
            let _ = answer(&garbage, |_| ());
            let mut nearly = told(Family::V4, &[1, 2, 3, 4], 1, &[(2, &info(1))]);
            let at = at % nearly.len();
            nearly[at] = byte;
            let _ = answer(&nearly, |_| ());
        }
    }
}
