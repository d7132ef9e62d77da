//! Sans-IO: one viewer: 64 bytes of who it is and where it watches.

/// How a viewer's player is moved, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Player {
    /// FLV in any player: stays until its session ends.
    Plain,
    /// FLV in ours: moved by a message in the stream.
    Flv,
    /// WebRTC and media over QUIC: the session is moved.
    Session,
    /// Low-latency HLS: moved by content steering.
    LowLatency,
    /// HLS: moved by content steering.
    Hls,
}

impl Player {
    pub(super) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Flv,
        Self::Session,
        Self::LowLatency,
        Self::Hls,
    ];

    /// Seconds of the stream that it holds.
    pub(super) fn buffer_s(self) -> f32 {
        match self {
            Self::Session => 0.2,
            Self::Plain | Self::Flv => 1.0,
            Self::LowLatency => 2.0,
            Self::Hls => 6.0,
        }
    }

    /// Whether an edge can tell it to ask for another one.
    pub(super) fn is_told(self) -> bool {
        matches!(self, Self::Flv | Self::Session)
    }

    /// Whether it asks for steering by itself.
    pub(super) fn asks(self) -> bool {
        matches!(self, Self::LowLatency | Self::Hls)
    }

    /// Round trips from the connection to the first picture: the request, and for HLS a playlist
    /// and a segment more.
    pub(super) fn round_trips(self) -> f64 {
        if self.asks() { 3.0 } else { 1.0 }
    }
}

/// No edge, nobody.
pub(super) const NONE: u16 = u16::MAX;

/// Edges of an answer: the one to go to and those behind it.
pub(super) type Edges = [u16; 4];

/// No edges.
pub(super) const NOWHERE: Edges = [NONE; 4];

/// Somebody who watches or wants to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    /// A hash of the viewer and the stream.
    pub(super) key: u64,
    /// Since when it plays at its edge, or wants to play.
    pub(super) since_ms: u32,
    /// What it watches.
    pub(super) stream: u32,
    /// Its place among the edge's viewers.
    pub(super) seat: u32,
    /// The edge's episode of overload in which it came.
    pub(super) episode: u32,
    /// What viewers like it missed of that before it came, seconds.
    pub(super) missed_s: f32,
    /// Where it is.
    pub(super) region: u16,
    /// Where it plays.
    pub(super) edge: u16,
    /// Where it may go, by the last answer.
    pub(super) edges: Edges,
    /// Where it was sent last.
    pub(super) sent: u16,
    /// How often its place in the table was given away before.
    pub(super) turn: u16,
    /// The kill that threw it out.
    pub(super) kill: u16,
    pub(super) player: Player,
    /// Which of `edges` it tries next.
    pub(super) next: u8,
    /// Answers in a row that wanted it to move and could not.
    pub(super) asked: u8,
    /// Whether it ever played.
    pub(super) played: bool,
    /// Whether it was turned away and counts as waiting.
    pub(super) waits: bool,
    /// Whether it goes where its resolver says.
    pub(super) by_dns: bool,
    /// Whether there is anybody.
    pub(super) present: bool,
}

impl Viewer {
    /// A place in the table that nobody has.
    pub(super) const NOBODY: Self = Self {
        key: 0,
        since_ms: 0,
        stream: 0,
        seat: 0,
        episode: 0,
        missed_s: 0.0,
        region: 0,
        edge: NONE,
        edges: NOWHERE,
        sent: NONE,
        turn: 0,
        kill: NONE,
        player: Player::Plain,
        next: 0,
        asked: 0,
        played: false,
        waits: false,
        by_dns: false,
        present: false,
    };
}

const _: () = assert!(
    size_of::<Viewer>() <= 64,
    "a million of them fit into caches' reach"
);
