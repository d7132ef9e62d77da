//! Hot: one RTMP connection: a socket, its session, and what the peer became.
//!
//! One task, one loop: drain the session, then wait for bytes, room to write, the deadline, the
//! player's next frame or the loss of the stream. What waits for the socket is bounded: a peer that
//! does not take replies is not read, a player that does not take frames gets none, and who takes
//! nothing at all is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media::flv::{self, Hevc};
use relay::reader::Item;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use transport::limit::{Connections, Permit};

use super::link;
use super::message::Media;
use super::player::Player;
use super::session::{self, Event, Output, Session, Target};
use crate::admit::{Admission, Caller, Refusal};
use crate::live::{self, Lost, Publisher};
use crate::meter::Held;
use crate::outbox::Outbox;

/// What the connections of one listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) admission: Admission,
    pub(super) session: session::Config,
    /// Places for players, fewer than for connections, so that publishers always find one.
    pub(super) players: Connections,
}

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke the protocol or was late.
    #[error(transparent)]
    Session(#[from] link::Error),
    /// The peer takes nothing.
    #[error("the peer takes no bytes")]
    Stalled,
}

impl Error {
    /// One word, for the counter.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Session(error) => error.reason(),
            Self::Stalled => "stalled",
        }
    }
}

/// One connection, whatever carries its bytes.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: SocketAddr,
    session: Session,
    role: Role,
    outbox: Outbox,
    deadline: Option<Instant>,
    /// By when some of the outbox must be taken, while there is any.
    stalls_at: Option<Instant>,
    ignored: Option<&'static str>,
}

/// What the peer became.
#[derive(Debug)]
enum Role {
    Undecided,
    Publisher(Publisher),
    Player {
        player: Box<Player>,
        _place: Place,
    },
    /// What is left is to send the last words.
    Over,
}

/// A player's place among the players, given back when dropped.
#[derive(Debug)]
struct Place {
    _permit: Permit,
    _counted: Held,
}

/// What a role waits for.
enum Happening {
    /// The next thing to play; `None` once the stream ended.
    Item(Option<Item>),
    /// The stream is no longer this publisher's.
    Lost,
}

impl Role {
    async fn next(&mut self) -> Happening {
        match self {
            Self::Player { player, .. } => Happening::Item(player.next().await),
            Self::Publisher(publisher) => {
                publisher.lost().await;
                Happening::Lost
            }
            Self::Undecided | Self::Over => std::future::pending().await,
        }
    }
}

impl Connection {
    /// A connection accepted now.
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        let session = Session::new(shared.session.clone(), rand::random(), now());
        Self {
            shared,
            peer,
            session,
            role: Role::Undecided,
            outbox: Outbox::default(),
            deadline: None,
            stalls_at: None,
            ignored: None,
        }
    }

    /// Serves the peer until one of both has enough.
    pub(super) async fn run<S>(mut self, socket: S) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut reader, mut writer) = tokio::io::split(socket);
        let mut input = BytesMut::new();
        loop {
            self.drain_session()?;
            if matches!(self.role, Role::Over) && self.outbox.is_empty() {
                return part(reader, writer).await;
            }
            input.reserve(READ_BYTES);
            let (waiting, wake_at) = (self.outbox.bytes(), self.wake_at());
            let Self { outbox, role, .. } = &mut self;
            tokio::select! {
                written = outbox.write_some(&mut writer), if waiting > 0 => self.wrote(written?),
                read = reader.read_buf(&mut input), if waiting < REPLY_BYTES => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.take(&mut input)?;
                }
                happening = role.next(), if waiting < PLAY_BYTES => match happening {
                    Happening::Item(item) => self.play(item),
                    Happening::Lost => self.lose(),
                },
                () = tokio::time::sleep_until(wake_at.into()) => self.on_deadline()?,
            }
        }
    }

    fn take(&mut self, input: &mut BytesMut) -> Result<(), Error> {
        let input = input.split().freeze();
        self.shared
            .admission
            .meter
            .received
            .inc_by(input.len() as u64);
        Ok(self.session.handle_input(now(), input)?)
    }

    fn wrote(&mut self, written: usize) {
        self.shared.admission.meter.sent.inc_by(written as u64);
        self.stalls_at = (!self.outbox.is_empty()).then(|| now() + STALL);
    }

    /// When to look again if nothing else happens.
    fn wake_at(&self) -> Instant {
        let deadlines = self.deadline.into_iter().chain(self.stalls_at);
        deadlines.min().unwrap_or_else(|| now() + STALL)
    }

    fn on_deadline(&mut self) -> Result<(), Error> {
        let now = now();
        if self.stalls_at.is_some_and(|at| at <= now) {
            return Err(Error::Stalled);
        }
        if self.deadline.take_if(|at| *at <= now).is_some() {
            self.session.handle_deadline(now)?;
        }
        Ok(())
    }

    fn drain_session(&mut self) -> Result<(), Error> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.outbox.push(bytes),
                Output::Deadline(at) => self.deadline = Some(at),
                Output::Event(event) => self.on_event(event)?,
            }
        }
        if !self.outbox.is_empty() && self.stalls_at.is_none() {
            self.stalls_at = Some(now() + STALL);
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Error> {
        match (event, &mut self.role) {
            (Event::Publish(target), _) => self.publish(&target)?,
            (Event::Play(target), _) => self.start_playing(&target)?,
            (Event::Media(media), Role::Publisher(publisher)) => {
                if let Some(event) = parse(media, &self.shared, &mut self.ignored)
                    && let Err(Lost) = publisher.push(event)
                {
                    self.lose();
                }
            }
            (Event::Paused, Role::Player { player, .. }) => player.pause(),
            (Event::Resumed, Role::Player { player, .. }) => player.resume(),
            (Event::Finished, _) => self.role = Role::Over,
            // Sent before the peer knew that it is over.
            (Event::Media(_) | Event::Paused | Event::Resumed, _) => {}
        }
        Ok(())
    }

    fn publish(&mut self, target: &Target) -> Result<(), Error> {
        let stream = format!("{}/{}", target.app, target.stream);
        let caller = Caller {
            stream: &stream,
            token: target.param("token"),
            address: self.peer,
        };
        match self.shared.admission.publish(&caller) {
            Ok(publisher) => {
                let (peer, agent) = (self.peer, &target.agent);
                tracing::info!(stream, %peer, agent, "publisher connected");
                self.role = Role::Publisher(publisher);
                self.session.accept_publish(now())?;
            }
            Err(refusal) => self.refuse(publish_code(&refusal), &refusal.to_string()),
        }
        Ok(())
    }

    fn start_playing(&mut self, target: &Target) -> Result<(), Error> {
        let stream = format!("{}/{}", target.app, target.stream);
        let caller = Caller {
            stream: &stream,
            token: target.param("token"),
            address: self.peer,
        };
        let meter = self.shared.admission.meter.clone();
        let Ok(permit) = self.shared.players.try_acquire(self.peer.ip()) else {
            meter.refused("players_full");
            self.refuse("NetStream.Play.Failed", "this origin takes no more players");
            return Ok(());
        };
        let hevc = match target.param("hevc") {
            Some("legacy") => Hevc::Legacy,
            _ => Hevc::Enhanced,
        };
        match self.shared.admission.play(&caller) {
            Ok(track) => {
                let _place = Place {
                    _permit: permit,
                    _counted: Held::new(&meter.players),
                };
                let player = Box::new(Player::new(track, hevc));
                self.role = Role::Player { player, _place };
                self.session.accept_play(now())?;
            }
            Err(refusal) => self.refuse(play_code(&refusal), &refusal.to_string()),
        }
        Ok(())
    }

    fn play(&mut self, item: Option<Item>) {
        let Role::Player { player, .. } = &mut self.role else {
            return;
        };
        match item {
            Some(item) => {
                player.send(item, &mut self.session);
                if player.catch_up() {
                    self.shared.admission.meter.skips.inc();
                }
            }
            None => {
                self.session.end_play();
                self.role = Role::Over;
            }
        }
    }

    fn lose(&mut self) {
        tracing::info!(peer = %self.peer, "publisher lost its stream");
        self.refuse("NetStream.Publish.BadName", &Lost.to_string());
    }

    fn refuse(&mut self, code: &str, description: &str) {
        self.session.refuse(code, description);
        self.role = Role::Over;
    }
}

/// Closes so that the last words arrive: bytes of the peer that nobody reads would make the system
/// reset the connection and throw them away.
async fn part<S>(mut reader: ReadHalf<S>, mut writer: WriteHalf<S>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite,
{
    let goodbye = async {
        writer.shutdown().await?;
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
    };
    // Whoever takes no goodbye (TLS has one of its own), or sends on after it, is cut off.
    match tokio::time::timeout(PARTING, goodbye).await {
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// The time as tokio sees it, which tests can turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What a message says; what cannot be used is counted, and named in the log when it is new.
fn parse(media: Media, shared: &Shared, ignored: &mut Option<&'static str>) -> Option<flv::Event> {
    match flv::parse(media.tag_type, media.timestamp, media.body) {
        Ok(flv::Event::Ignored(what)) => {
            if ignored.replace(what) != Some(what) {
                tracing::info!(what, "part of a stream is not relayed");
            }
            shared.admission.meter.dropped("unsupported");
            None
        }
        Ok(event) => Some(event),
        Err(error) => {
            tracing::debug!(%error, "message dropped");
            shared.admission.meter.dropped("malformed");
            None
        }
    }
}

/// The codes that encoders know.
fn publish_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Name(_) | Refusal::Claim(live::Refused::Busy) => "NetStream.Publish.BadName",
        Refusal::Token(_) | Refusal::Kicked => "NetStream.Publish.Denied",
        _ => "NetStream.Publish.Rejected",
    }
}

/// The codes that players know.
fn play_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Name(_) | Refusal::NotFound => "NetStream.Play.StreamNotFound",
        _ => "NetStream.Play.Failed",
    }
}

/// Room for one read: a frame or two of usual size.
const READ_BYTES: usize = 16 << 10;

/// Replies that may wait while more of the peer's bytes are read: many times what one asks for.
const REPLY_BYTES: usize = 64 << 10;

/// Media that may wait for a player's socket, beyond what the kernel holds: a key frame or two.
const PLAY_BYTES: usize = 256 << 10;

/// Time for the peer to read the last words and close: a round trip on the slowest links.
const PARTING: Duration = Duration::from_secs(1);

/// A peer that takes no byte for this long is gone or of no use.
const STALL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
