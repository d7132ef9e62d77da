//! Hot: one RTMP player: a position in a track, turned into messages.
//!
//! A player too slow for the stream skips to the newest group. Timestamps begin at zero; an
//! origin's track is one life of its stream, so that they go on to its end. How much may wait for
//! the socket is the connection's matter.

use std::sync::Arc;
use std::time::Duration;

use media::codec::Catalog;
use media::flv::{self, Hevc, tag};
use media::frame::{Frame, TrackId};
use media::timestamp::Timestamp;
use relay::group;
use relay::reader::{Item, Reader, Start};
use relay::track::Consumer;

use super::session::Session;

/// Follows a track for one session.
#[derive(Debug)]
pub(super) struct Player {
    track: Consumer,
    reader: Reader,
    hevc: Hevc,
    paused: bool,
    catalog: Arc<Catalog>,
    /// The configuration last sent.
    sent: Option<u32>,
    /// What times are less on the player's time line; known with the first frame.
    base: Option<Timestamp>,
    newest: Timestamp,
}

impl Player {
    /// A player that starts at the newest group.
    pub(super) fn new(track: Consumer, hevc: Hevc) -> Self {
        Self {
            reader: Reader::new(track.clone(), Start::Latest),
            track,
            hevc,
            paused: false,
            catalog: Arc::default(),
            sent: None,
            base: None,
            newest: Timestamp::ZERO,
        }
    }

    /// The next thing to send; never while paused, `None` once the stream ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Item> {
        if self.paused {
            return std::future::pending().await;
        }
        self.reader.next().await
    }

    /// Skips to the newest group when too far behind; says whether frames were lost thereby.
    pub(super) fn catch_up(&mut self) -> bool {
        self.reader.lag() > LAG_MAX && self.reader.skip_to_latest()
    }

    /// Stops sending.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on at the newest key frame.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        self.reader = Reader::new(self.track.clone(), Start::Latest);
    }

    /// Sends what [`Player::next`] gave.
    pub(super) fn send(&mut self, item: Item, session: &mut Session) {
        match item {
            Item::Group(group) => self.send_config(group.header(), session),
            Item::Frame { frame, .. } => self.send_frame(frame, session),
            // The group that comes next begins with a key frame.
            Item::Gap => {}
        }
    }

    fn send_config(&mut self, header: &group::Header, session: &mut Session) {
        if self.sent.replace(header.config_id) == Some(header.config_id) {
            return;
        }
        self.catalog = header.catalog.clone();
        let metadata = flv::metadata_body(&self.catalog, self.hevc);
        session.send_media(tag::SCRIPT, self.newest, &[], metadata);
        for track in &self.catalog.tracks {
            if let Some(body) = flv::sequence_header(track, self.hevc) {
                session.send_media(tag_type(track.id), self.newest, &[], body);
            }
        }
    }

    fn send_frame(&mut self, frame: Frame, session: &mut Session) {
        let Some(track) = self.catalog.track(frame.track) else {
            return;
        };
        let base = *self.base.get_or_insert(frame.dts);
        // Sound that began a little before the first picture would be before zero.
        let time = (frame.dts - base).max(Timestamp::ZERO);
        self.newest = self.newest.max(time);
        let head = flv::body_head(track.codec, &frame, self.hevc);
        session.send_media(tag_type(frame.track), time, &head, frame.payload);
    }
}

fn tag_type(track: TrackId) -> u8 {
    if track == TrackId::AUDIO {
        tag::AUDIO
    } else {
        tag::VIDEO
    }
}

/// A player this far behind skips: more than a usual buffer, which rides out less by itself.
const LAG_MAX: Duration = Duration::from_secs(3);
