//! A publisher in the test's own process: pictures and sound of clips, when and stamped as a test says.

use std::{fs, ops::Range, path::Path, thread::JoinHandle, time::Duration};

use media::{
    codec::Catalog,
    flv::Hevc,
    frame::{Frame, TrackId},
    mp4,
    timestamp::Timestamp,
};
use origin::push::Push;
use tokio::time::{Instant, sleep_until};

/// What a publisher does, step by step; times in milliseconds.
#[derive(Default)]
pub struct Script {
    acts: Vec<(Duration, Act)>,
    now_ms: i64,
    /// What its clock shows beyond the time since it began.
    ahead_ms: i64,
    catalog: Catalog,
}

enum Act {
    /// A connection of its own; the one before breaks.
    Connect(Catalog),
    /// The same connection has other tracks from here on.
    Describe(Catalog),
    Send(Frame),
}

impl Script {
    /// A publisher comes with the tracks of a clip; its clock starts anew.
    pub fn connect(mut self, clip: &Path) -> Self {
        self.catalog = read(clip).catalog;
        self.ahead_ms = -self.now_ms;
        let catalog = self.catalog.clone();
        self.act(self.now_ms, Act::Connect(catalog));
        self
    }

    /// The publisher goes on with the tracks of another clip.
    pub fn change(mut self, clip: &Path) -> Self {
        self.catalog = read(clip).catalog;
        let catalog = self.catalog.clone();
        self.act(self.now_ms, Act::Describe(catalog));
        self
    }

    /// What a clip has in this time.
    pub fn play(mut self, clip: &Path, span: Range<i64>) -> Self {
        for frame in read(clip).frames {
            let at_ms = frame.dts.as_millis();
            if !span.contains(&at_ms) {
                continue;
            }
            let due_ms = self.now_ms + at_ms - span.start;
            let dts = Timestamp::from_millis(due_ms + self.ahead_ms);
            self.act(due_ms, Act::Send(Frame { dts, ..frame }));
        }
        self.now_ms += span.end - span.start;
        self
    }

    /// Nothing comes for a while.
    pub fn pause(mut self, ms: i64) -> Self {
        self.now_ms += ms;
        self
    }

    /// The publisher's clock is set.
    pub fn jump(mut self, ms: i64) -> Self {
        self.ahead_ms += ms;
        self
    }

    /// How long it takes.
    pub fn length(&self) -> Duration {
        Duration::from_millis(self.now_ms as u64)
    }

    /// Carries it out.
    pub fn run(self, url: &str) -> Playing {
        let url = url.to_owned();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        Playing(std::thread::spawn(move || {
            runtime.block_on(self.perform(&url));
        }))
    }

    async fn perform(self, url: &str) {
        let (start, mut push) = (Instant::now(), None);
        let mut now = Catalog::default();
        for (due, act) in self.acts {
            sleep_until(start + due).await;
            match act {
                Act::Connect(catalog) => {
                    drop(push.take());
                    let mut new = Push::connect(url, Hevc::Enhanced).await.unwrap();
                    new.send_catalog(&catalog).await.unwrap();
                    (push, now) = (Some(new), catalog);
                }
                Act::Describe(catalog) => {
                    for config in &catalog.tracks {
                        push.as_mut().unwrap().send_config(config).await.unwrap();
                    }
                    now = catalog;
                }
                Act::Send(frame) => {
                    let codec = now.track(frame.track).unwrap().codec;
                    let push = push.as_mut().unwrap();
                    push.send_frame(codec, &frame).await.unwrap();
                }
            }
        }
    }

    fn act(&mut self, ms: i64, act: Act) {
        let ms = u64::try_from(ms).expect("a script goes forward");
        self.acts.push((Duration::from_millis(ms), act));
    }
}

/// A script that is being carried out.
pub struct Playing(JoinHandle<()>);

impl Playing {
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until it is over; fails the test if it was refused.
    pub fn finish(self) {
        self.0.join().unwrap();
    }
}

/// A clip as publishers send it: picture and sound stamped in whole milliseconds.
fn read(clip: &Path) -> mp4::Movie {
    let mut movie = mp4::read(fs::read(clip).unwrap().into()).unwrap();
    assert!(movie.catalog.track(TrackId::VIDEO).is_some());
    for frame in &mut movie.frames {
        frame.duration = None;
    }
    movie
}
