//! Sans-IO: an HTTP/1.1 answer as it comes: its head, then its body without the framing.
//!
//! RFC 9112: a body is chunked (7.1), has a length, or ends with the connection (6.3). Leaves out
//! trailers, which are skipped, and what content codings mean.

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Who answered, by `Via` (RFC 9110 7.6.3): an edge's id; empty when it does not say.
    pub server: String,
    /// Whether the body is gzip (RFC 9110 8.4.1.3).
    pub is_gzip: bool,
    /// How the body's end is known.
    pub body: Body,
    /// Bytes of the head; the body starts behind them.
    pub length: usize,
}

/// Where in its framing a body is.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// Goes on until the connection ends.
    ToEnd,
    /// So many bytes are still to come.
    Length(u64),
    /// Within a chunk: so many bytes of it are still to come.
    Chunk(u64),
    /// Behind a chunk's bytes, before the end of its line.
    ChunkEnd,
    /// In the line with a chunk's size, as far as it was read.
    Size {
        /// The digits so far.
        size: u64,
        /// Whether there was one.
        digits: bool,
        /// Whether the digits are over: an extension, or the end of the line.
        over: bool,
    },
    /// All was said.
    Over,
}

/// Why an answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not HTTP, or a head beyond the limits.
    #[error("the answer is no http")]
    Head,
    /// A chunk's framing.
    #[error("the answer's chunks are broken")]
    Chunk,
}

impl Head {
    /// Reads a head, or nothing before it is complete.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            _ => return Err(Error::Head),
        };
        let header = |name: &str| {
            let mut all = response.headers.iter();
            let found = all.find(|header| header.name.eq_ignore_ascii_case(name))?;
            str::from_utf8(found.value).ok()
        };
        let chunked =
            header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let body = match header("content-length").map(|length| length.trim().parse()) {
            _ if chunked => Body::size(),
            Some(length) => Body::Length(length.map_err(|_| Error::Head)?),
            None => Body::ToEnd,
        };
        Ok(Some(Self {
            status: response.code.ok_or(Error::Head)?,
            location: header("location").map(Into::into),
            server: header("via")
                .and_then(|via| via.split_whitespace().nth(1))
                .map_or_else(String::new, Into::into),
            is_gzip: header("content-encoding").is_some_and(|v| v.eq_ignore_ascii_case("gzip")),
            body,
            length,
        }))
    }
}

impl Body {
    fn size() -> Self {
        Self::Size {
            size: 0,
            digits: false,
            over: false,
        }
    }

    /// The body's next bytes in `input`, which moves past them; nothing when there are no more.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Error> {
        loop {
            if input.is_empty() || *self == Self::Over {
                return Ok(None);
            }
            match self {
                Self::ToEnd => return Ok(Some(std::mem::take(input))),
                Self::Length(left) | Self::Chunk(left) if *left > 0 => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX);
                    let (bytes, rest) = input.split_at(length.min(input.len()));
                    *left -= bytes.len() as u64;
                    *input = rest;
                    return Ok(Some(bytes));
                }
                Self::Length(_) => *self = Self::Over,
                Self::Chunk(_) => *self = Self::ChunkEnd,
                _ => {
                    let (byte, rest) = input.split_first().ok_or(Error::Chunk)?;
                    *input = rest;
                    self.framing(*byte)?;
                }
            }
        }
    }

    /// Whether nothing more can come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over | Self::Length(0))
    }

    /// Whether the end of the connection is its end, too.
    pub fn ends_here(&self) -> bool {
        matches!(self, Self::ToEnd) || self.is_over()
    }

    fn framing(&mut self, byte: u8) -> Result<(), Error> {
        match (&mut *self, byte) {
            (Self::ChunkEnd, b'\r') => {}
            (Self::ChunkEnd, b'\n') => *self = Self::size(),
            (Self::Size { digits: false, .. }, _) if !byte.is_ascii_hexdigit() => {
                return Err(Error::Chunk);
            }
            (Self::Size { size: 0, .. }, b'\n') => *self = Self::Over,
            (Self::Size { size, .. }, b'\n') => *self = Self::Chunk(*size),
            (Self::Size { over: true, .. }, _) => {}
            (Self::Size { over, .. }, b'\r' | b';' | b' ' | b'\t') => *over = true,
            (Self::Size { size, digits, .. }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Error::Chunk)?;
                *digits = true;
                *size = *size << 4 | u64::from(digit);
                if *size > MAX_CHUNK {
                    return Err(Error::Chunk);
                }
            }
            _ => return Err(Error::Chunk),
        }
        Ok(())
    }
}

/// More than proxies add.
const MAX_HEADERS: usize = 64;
/// What browsers and proxies take, too.
const MAX_HEAD: usize = 16 << 10;
/// A server writes a chunk from memory: none is larger than this.
const MAX_CHUNK: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The head, and the body when the bytes come in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> Result<(u16, Vec<u8>, bool), Error> {
        let head = Head::read(bytes)?.ok_or(Error::Head)?;
        let (mut body, mut out) = (head.body, Vec::new());
        for mut piece in bytes[head.length..].chunks(piece) {
            while let Some(bytes) = body.next(&mut piece)? {
                out.extend_from_slice(bytes);
            }
        }
        Ok((head.status, out, body.is_over()))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_framed_and_cut() {
        let table: [(&str, bool); 6] = [
            ("\r\n\r\nhello", false),
            ("\r\nContent-Length: 5\r\n\r\nhello", true),
            ("\r\ncontent-length: 5\r\n\r\nhello more", true),
            (
                "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n003;x=y\r\nllo\r\n0\r\n\r\n",
                true,
            ),
            (
                "\r\ntransfer-encoding: Chunked\r\n\r\n5\nhello\n0\n\n",
                true,
            ),
            (
                "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                false,
            ),
        ];
        for (rest, over) in table {
            let text = format!("HTTP/1.1 200 OK{rest}");
            for piece in 1..20 {
                let expect = Ok((200, b"hello".to_vec(), over));
                assert_eq!(read(text.as_bytes(), piece), expect, "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn a_redirect_says_where_to() {
        let text = b"HTTP/1.1 302 Found\r\nLocation: http://a/b\r\nContent-Length: 0\r\n\r\n";
        let head = Head::read(text).unwrap().unwrap();
        assert_eq!(
            (head.status, head.location.as_deref()),
            (302, Some("http://a/b"))
        );
        for cut in 0..text.len() {
            assert_eq!(Head::read(&text[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for text in ["FLV\x01", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            assert_eq!(Head::read(text.as_bytes()), Err(Error::Head), "{text}");
        }
        assert_eq!(Head::read(&[b'H'; 1]), Ok(None));
        let endless = ["HTTP/1.1 200 OK\r\nx: ".as_bytes(), &[b'y'; MAX_HEAD]].concat();
        assert_eq!(Head::read(&endless), Err(Error::Head));
        for chunk in ["x", ";", "ffffffffffffffff\r\n", "1\r\nabc"] {
            let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}");
            assert_eq!(read(text.as_bytes(), 7), Err(Error::Chunk), "{chunk}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_framing(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            piece in 1..50usize,
        ) {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            if let Ok((_, body, _)) = read(&[head, &bytes[..]].concat(), piece) {
                prop_assert!(body.len() <= bytes.len());
            }
        }
    }
}
