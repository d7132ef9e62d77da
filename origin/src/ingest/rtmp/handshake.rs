//! Sans-IO: the handshake that opens an RTMP connection, both ends of it.
//!
//! RTMP 1.0 section 5.2 is the simple form: a version byte, 1536 bytes each way, 1536 bytes echoed.
//! Flash and some hardware encoders hide a digest in their 1536 bytes (at one of two places) and
//! want one back before they send H.264; a server here answers in the form it was asked in. A
//! client here speaks the simple form, which every server takes.
//! Left out on purpose: RTMPE, and any check of what the peer echoes, which proves nothing.

use aws_lc_rs::hmac;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first byte asks for a protocol that is not plain RTMP.
    #[error("version {0} instead of 3")]
    Version(u8),
}

/// What a handshake wants of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More input.
    More,
    /// Send this, then go on with the same input.
    Reply(Bytes),
    /// It is over; what is left of the input is chunks.
    Done,
}

/// One end of a handshake.
#[derive(Debug)]
pub struct Handshake {
    end: End,
    stage: Stage,
    gathered: BytesMut,
    random: StdRng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for the peer's version byte and first packet.
    Hello,
    /// Waits for the peer's second packet.
    Echo,
    Done,
}

impl Handshake {
    /// The server's end; `seed` makes its random bytes.
    pub fn server(seed: u64) -> Self {
        Self::new(End::Server, seed)
    }

    /// The client's end and the bytes it opens with.
    pub fn client(seed: u64) -> (Self, Bytes) {
        let mut client = Self::new(End::Client, seed);
        let mut hello = BytesMut::with_capacity(1 + PACKET);
        hello.put_u8(VERSION);
        hello.put_slice(&client.packet());
        (client, hello.freeze())
    }

    fn new(end: End, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            end,
            stage: Stage::Hello,
            gathered: BytesMut::new(),
            random,
        }
    }

    /// Takes what it needs from the front of `input`; call again until it wants more or is done.
    pub fn read(&mut self, input: &mut Bytes) -> Result<Step, Error> {
        let want = match self.stage {
            Stage::Hello => 1 + PACKET,
            Stage::Echo => PACKET,
            Stage::Done => return Ok(Step::Done),
        };
        let taken = input.split_to(input.len().min(want - self.gathered.len()));
        self.gathered.put_slice(&taken);
        if self.stage == Stage::Hello
            && let Some(&version) = self.gathered.first()
            && version != VERSION
        {
            return Err(Error::Version(version));
        }
        if self.gathered.len() < want {
            return Ok(Step::More);
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        if self.stage == Stage::Echo {
            self.stage = Stage::Done;
            return Ok(Step::Done);
        }
        self.stage = Stage::Echo;
        gathered.advance(1);
        Ok(Step::Reply(match self.end {
            End::Server => self.answer(&gathered),
            End::Client => gathered.freeze(),
        }))
    }

    /// S0, S1 and S2 for a client's C1.
    fn answer(&mut self, c1: &[u8]) -> Bytes {
        let mut s1 = self.packet();
        let s2 = match find_digest(c1, &PLAYER_KEY[..PLAYER_NAME]) {
            Some((scheme, c1_digest)) => {
                s1[4..8].copy_from_slice(&DIGEST_VERSION);
                let at = scheme.offset(&s1);
                let digest = digest(&SERVER_KEY[..SERVER_NAME], &s1, at);
                s1[at..at + DIGEST].copy_from_slice(&digest);
                let mut s2 = self.packet();
                let key = sign(&SERVER_KEY, &[&c1_digest]);
                let digest = sign(&key, &[&s2[..PACKET - DIGEST]]);
                s2[PACKET - DIGEST..].copy_from_slice(&digest);
                s2
            }
            None => c1.to_vec(),
        };
        let mut reply = BytesMut::with_capacity(1 + 2 * PACKET);
        reply.put_u8(VERSION);
        reply.put_slice(&s1);
        reply.put_slice(&s2);
        reply.freeze()
    }

    /// Time 0, version 0, random bytes (section 5.2.3).
    fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![0; PACKET];
        self.random.fill_bytes(&mut packet[8..]);
        packet
    }
}

/// Where in its 1536 bytes a peer hides the digest of all the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// In the second half: a block of 764 bytes for a key comes first.
    KeyFirst,
    /// In the first half.
    DigestFirst,
}

impl Scheme {
    /// The digest's place: the block's four first bytes, added, point into the block.
    fn offset(self, packet: &[u8]) -> usize {
        let block = match self {
            Self::KeyFirst => 8 + BLOCK,
            Self::DigestFirst => 8,
        };
        let sum: usize = packet[block..block + 4]
            .iter()
            .map(|&byte| usize::from(byte))
            .sum();
        block + 4 + sum % (BLOCK - 4 - DIGEST)
    }
}

/// The digest in a peer's packet, when there is one that `key` made.
fn find_digest(packet: &[u8], key: &[u8]) -> Option<(Scheme, [u8; DIGEST])> {
    // Version 0 marks the simple form; asking it first spares encoders two HMACs.
    if packet[4..8] == [0; 4] {
        return None;
    }
    [Scheme::KeyFirst, Scheme::DigestFirst]
        .into_iter()
        .find_map(|scheme| {
            let at = scheme.offset(packet);
            let digest = digest(key, packet, at);
            (packet[at..at + DIGEST] == digest).then_some((scheme, digest))
        })
}

/// The digest of a packet without the 32 bytes at `at`.
fn digest(key: &[u8], packet: &[u8], at: usize) -> [u8; DIGEST] {
    sign(key, &[&packet[..at], &packet[at + DIGEST..]])
}

fn sign(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    context
        .sign()
        .as_ref()
        .try_into()
        .expect("SHA-256 makes 32 bytes")
}

/// Plain RTMP; 6 and 8 are encrypted kinds.
const VERSION: u8 = 3;
/// Length of C1, C2, S1 and S2.
const PACKET: usize = 1536;
/// Length of an HMAC-SHA256.
const DIGEST: usize = 32;
/// Half of a packet after its time and version.
const BLOCK: usize = 764;
/// The server version that digest clients expect in S1: any that is not 0.
const DIGEST_VERSION: [u8; 4] = [4, 5, 0, 1];

/// The part of `SERVER_KEY` that is a name signs S1; all of it signs S2.
const SERVER_NAME: usize = 36;
const SERVER_KEY: [u8; SERVER_NAME + 32] = key(b"Genuine Adobe Flash Media Server 001");
/// The part of `PLAYER_KEY` that is a name signs C1.
const PLAYER_NAME: usize = 30;
const PLAYER_KEY: [u8; PLAYER_NAME + 32] = key(b"Genuine Adobe Flash Player 001");

/// A name followed by the 32 bytes that both keys end in.
const fn key<const N: usize>(name: &[u8]) -> [u8; N] {
    const TAIL: [u8; 32] = [
        0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e,
        0x57, 0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb,
        0x31, 0xae,
    ];
    let mut key = [0; N];
    let mut at = 0;
    while at < N {
        key[at] = if at < name.len() {
            name[at]
        } else {
            TAIL[at - name.len()]
        };
        at += 1;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A C1 as Flash makes it: a version, and a digest where `scheme` puts it.
    fn flash_hello(scheme: Scheme, fill: u64) -> Vec<u8> {
        let mut c1 = Handshake::new(End::Client, fill).packet();
        c1[4..8].copy_from_slice(&[10, 0, 45, 2]);
        let at = scheme.offset(&c1);
        let digest = digest(b"Genuine Adobe Flash Player 001", &c1, at);
        c1[at..at + DIGEST].copy_from_slice(&digest);
        c1
    }

    fn answer(c1: &[u8]) -> Bytes {
        let mut server = Handshake::server(7);
        let mut input = Bytes::from([&[VERSION], c1].concat());
        match server.read(&mut input) {
            Ok(Step::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_simple_hello_is_echoed() {
        let c1 = Handshake::new(End::Client, 1).packet();
        let reply = answer(&c1);
        assert_eq!(reply.len(), 1 + 2 * PACKET);
        assert_eq!(reply[0], VERSION);
        assert_eq!(reply[5..9], [0; 4]);
        assert_eq!(reply[1 + PACKET..], c1);
    }

    #[test]
    fn a_digest_is_answered_in_the_scheme_it_was_asked_in() {
        for scheme in [Scheme::KeyFirst, Scheme::DigestFirst] {
            for fill in 0..20 {
                let c1 = flash_hello(scheme, fill);
                let (found, c1_digest) =
                    find_digest(&c1, &PLAYER_KEY[..PLAYER_NAME]).expect("a digest");
                assert_eq!(found, scheme);
                let reply = answer(&c1);
                let (s1, s2) = reply[1..].split_at(PACKET);
                let (answered, _) =
                    find_digest(s1, b"Genuine Adobe Flash Media Server 001").expect("a digest");
                assert_eq!(answered, scheme);
                let key = sign(&SERVER_KEY, &[&c1_digest]);
                assert_eq!(s2[PACKET - DIGEST..], sign(&key, &[&s2[..PACKET - DIGEST]]));
            }
        }
    }

    #[test]
    fn a_version_without_a_digest_is_taken_as_simple() {
        let mut c1 = flash_hello(Scheme::KeyFirst, 3);
        let at = Scheme::KeyFirst.offset(&c1);
        c1[at] ^= 1;
        assert_eq!(answer(&c1)[1 + PACKET..], c1);
    }

    #[test]
    fn a_wrong_version_is_refused_at_its_first_byte() {
        for version in [0, 6, b'G', 0x16] {
            let mut server = Handshake::server(0);
            let refused = server.read(&mut Bytes::copy_from_slice(&[version]));
            assert_eq!(refused, Err(Error::Version(version)));
        }
    }

    /// Feeds `bytes` in pieces; returns what was sent and what was left over.
    fn feed(end: &mut Handshake, bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>, bool) {
        let (mut sent, mut rest, mut done) = (Vec::new(), Vec::new(), false);
        for part in bytes.chunks(piece) {
            let mut part = Bytes::copy_from_slice(part);
            loop {
                match end.read(&mut part).unwrap() {
                    Step::More => break,
                    Step::Reply(reply) => sent.extend_from_slice(&reply),
                    Step::Done => {
                        done = true;
                        rest.extend_from_slice(&part);
                        break;
                    }
                }
            }
        }
        (sent, rest, done)
    }

    proptest! {
        #[test]
        fn client_and_server_meet_however_the_bytes_are_split(
            piece in 1usize..4000,
            seed in any::<u64>(),
        ) {
            let mut server = Handshake::server(seed);
            let (mut client, hello) = Handshake::client(seed ^ 1);
            let (answer, _, done) = feed(&mut server, &hello, piece);
            prop_assert!(!done);
            let (echo, rest, done) = feed(&mut client, &answer, piece);
            prop_assert!(done && rest.is_empty());
            let echo = [&echo[..], b"chunks"].concat();
            let (sent, rest, done) = feed(&mut server, &echo, piece);
            prop_assert!(done && sent.is_empty());
            prop_assert_eq!(rest, b"chunks");
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let bytes = [&[VERSION], &bytes[..]].concat();
            feed(&mut Handshake::server(0), &bytes, 100);
        }
    }
}
