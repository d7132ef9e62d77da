//! Hot: publishing to an RTMP server: the client's session over a TCP socket.
//!
//! A call returns once the socket took its bytes, so that the caller feels a slow server; a server
//! that takes nothing for [`STALL`] is an error. Leaves out RTMPS, and reconnecting, which is the
//! caller's to decide.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use media::codec::{Catalog, Codec, TrackConfig};
use media::flv::{self, Hevc, tag};
use media::frame::Frame;
use media::timestamp::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ingest::rtmp::client::{BadUrl, Client, Event, Output, Role, Url};
use crate::ingest::rtmp::link;
use crate::outbox::Outbox;

/// A stream being published.
#[derive(Debug)]
pub struct Push {
    socket: TcpStream,
    client: Client,
    hevc: Hevc,
    outbox: Outbox,
    input: BytesMut,
    deadline: Option<Instant>,
    newest: Timestamp,
}

/// Why publishing failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an RTMP URL.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// RTMPS.
    #[error("publishing over rtmps is not possible; use rtmp")]
    Tls,
    /// The socket failed, or the server closed it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server broke the protocol or did not answer.
    #[error(transparent)]
    Session(#[from] link::Error),
    /// The server refused, in its own words.
    #[error("{code}: {description}")]
    Refused {
        /// As in `NetStream.Publish.BadName`.
        code: String,
        /// For people.
        description: String,
    },
}

impl Push {
    /// Connects and waits until the server takes media. HEVC is written as `hevc` says.
    pub async fn connect(url: &str, hevc: Hevc) -> Result<Self, Error> {
        let url = Url::parse(url)?;
        if url.tls {
            return Err(Error::Tls);
        }
        let dial = TcpStream::connect((url.host.as_str(), url.port));
        let socket = timeout(STALL, dial).await.map_err(io::Error::from)??;
        socket.set_nodelay(true)?;
        let mut push = Self {
            socket,
            client: Client::new(url, Role::Publish, rand::random(), Instant::now()),
            hevc,
            outbox: Outbox::default(),
            input: BytesMut::new(),
            deadline: None,
            newest: Timestamp::ZERO,
        };
        while !push.drain_client()? {
            push.exchange().await?;
        }
        Ok(push)
    }

    /// Announces all tracks with their configurations.
    pub async fn send_catalog(&mut self, catalog: &Catalog) -> Result<(), Error> {
        let metadata = flv::metadata_body(catalog, self.hevc);
        self.client
            .send_media(tag::SCRIPT, self.newest, &[], metadata);
        for config in &catalog.tracks {
            self.queue_config(config);
        }
        self.flush().await
    }

    /// Sends a track's configuration.
    pub async fn send_config(&mut self, config: &TrackConfig) -> Result<(), Error> {
        self.queue_config(config);
        self.flush().await
    }

    /// Sends a frame.
    pub async fn send_frame(&mut self, codec: Codec, frame: &Frame) -> Result<(), Error> {
        let head = flv::body_head(codec, frame, self.hevc);
        self.newest = self.newest.max(frame.dts);
        self.client
            .send_media(tag_type(codec), frame.dts, &head, frame.payload.clone());
        self.flush().await
    }

    /// Ends the stream and the connection.
    pub async fn close(mut self) -> Result<(), Error> {
        self.client.finish();
        self.flush().await?;
        Ok(self.socket.shutdown().await?)
    }

    fn queue_config(&mut self, config: &TrackConfig) {
        if let Some(body) = flv::sequence_header(config, self.hevc) {
            self.client
                .send_media(tag_type(config.codec), self.newest, &[], body);
        }
    }

    /// Sends all that waits, and takes what the server said meanwhile.
    async fn flush(&mut self) -> Result<(), Error> {
        self.drain_client()?;
        while !self.outbox.is_empty() {
            self.exchange().await?;
            self.drain_client()?;
        }
        Ok(())
    }

    /// Carries out what the client wants; true once media may be sent.
    fn drain_client(&mut self) -> Result<bool, Error> {
        let mut published = false;
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Send(bytes) => self.outbox.push(bytes),
                Output::Deadline(at) => self.deadline = Some(at),
                Output::Event(Event::Published) => {
                    published = true;
                    self.deadline = None;
                }
                Output::Event(Event::Refused { code, description }) => {
                    return Err(Error::Refused { code, description });
                }
                Output::Event(Event::Closed) => {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
                }
                Output::Event(Event::Connected | Event::Playing | Event::Media(_)) => {}
            }
        }
        Ok(published)
    }

    /// Reads or writes once, whichever the socket is ready for.
    async fn exchange(&mut self) -> Result<(), Error> {
        let stalls_at = Instant::now() + STALL;
        let wake_at = self.deadline.map_or(stalls_at, |at| at.min(stalls_at));
        self.input.reserve(READ_BYTES);
        let (mut reader, mut writer) = self.socket.split();
        tokio::select! {
            written = self.outbox.write_some(&mut writer), if !self.outbox.is_empty() => {
                written?;
            }
            read = reader.read_buf(&mut self.input) => {
                if read? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                let input: Bytes = self.input.split().freeze();
                self.client.handle_input(Instant::now(), input)?;
            }
            () = tokio::time::sleep_until(wake_at.into()) => {
                self.client.handle_deadline(Instant::now())?;
                if Instant::now() >= stalls_at {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
            }
        }
        Ok(())
    }
}

fn tag_type(codec: Codec) -> u8 {
    if codec.is_video() {
        tag::VIDEO
    } else {
        tag::AUDIO
    }
}

/// A server that neither takes nor sends a byte for this long is given up.
pub const STALL: Duration = Duration::from_secs(15);

/// Room for one read: a server has little to say to a publisher.
const READ_BYTES: usize = 4 << 10;
