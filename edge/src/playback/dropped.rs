//! Sans-IO: Hot: counts of the frames that slow viewers did not get.

use media::frame::{Frame, Kind, TrackId};

/// Frames that were left out, by what is lost with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Times that a viewer was sent on to a key frame.
    pub skips: u64,
    /// Pictures that no other refers to.
    pub disposable: u64,
    /// Pictures that others refer to.
    pub reference: u64,
    /// Key frames.
    pub key: u64,
    /// Frames of sound.
    pub sound: u64,
}

impl Dropped {
    /// Counts a picture.
    pub fn picture(&mut self, kind: Kind) {
        match kind {
            Kind::Disposable => self.disposable += 1,
            Kind::Reference => self.reference += 1,
            Kind::Key => self.key += 1,
        }
    }

    /// Counts a frame of any track.
    pub fn frame(&mut self, frame: &Frame) {
        if frame.track == TrackId::VIDEO {
            self.picture(frame.kind);
        } else {
            self.sound += 1;
        }
    }

    /// The frames, each kind with its label in counters.
    pub fn by_kind(&self) -> [(&'static str, u64); 4] {
        [
            ("disposable", self.disposable),
            ("reference", self.reference),
            ("key", self.key),
            ("sound", self.sound),
        ]
    }
}
