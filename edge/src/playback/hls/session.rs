//! The HLS viewers of the node: one for each session, however many requests it makes.
//!
//! A session is there from its first request on and leaves when it has been silent for a while; one that comes back
//! afterwards is let in anew. The table holds no more than the node has places, and `MAX_SESSIONS` where those have
//! no limit. A session's token that was verified need not be again while the session is here and asks the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::region::Region;
use cluster::stream::StreamKey;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::upstream::Lease;
use crate::viewer::{Closed, Place, Protocol, Viewer};

/// The sessions; a clone is the same table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// By their ids.
    sessions: HashMap<String, Session>,
    /// By their tokens' texts, one at most of each session.
    proofs: HashMap<Arc<str>, Proof>,
}

/// What a token was found to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The session.
    pub(crate) sid: String,
    /// Where its viewer is.
    pub(crate) region: Region,
    /// That it may play this stream.
    pub(crate) stream: StreamKey,
    /// From this address.
    pub(crate) client: IpAddr,
    /// Until then, in Unix seconds.
    pub(crate) until_s: u64,
}

#[derive(Debug)]
struct Session {
    /// Its token's text, once that was verified.
    token: Option<Arc<str>>,
    held: Held,
    seen: Instant,
    /// How long it may be silent.
    silence: Duration,
}

#[derive(Debug)]
enum Held {
    /// It has not had a playlist yet.
    Place(Option<Place>),
    Viewer(Viewer),
}

impl Sessions {
    /// Whether the session is here; then it was seen just now, watching this stream.
    pub(crate) fn touch(&self, sid: &str, stream: &StreamKey) -> bool {
        let mut table = self.0.lock();
        let Some(session) = table.sessions.get_mut(sid) else {
            return false;
        };
        session.seen = Instant::now();
        if let Held::Viewer(viewer) = &mut session.held {
            viewer.moves_to(stream);
        }
        true
    }

    /// Whether there is room for another one.
    pub(crate) fn has_room(&self) -> bool {
        self.0.lock().sessions.len() < MAX_SESSIONS
    }

    /// A session begins, or goes on here.
    pub(crate) fn begin(&self, sid: &str, place: Place) {
        let session = Session {
            token: None,
            held: Held::Place(Some(place)),
            seen: Instant::now(),
            silence: FIRST_WITHIN,
        };
        // Of two first requests at one time the later one's place is given back, outside the lock.
        let _other = {
            let sessions = &mut self.0.lock().sessions;
            match sessions.get(sid) {
                Some(_) => Some(session),
                None => sessions.insert(sid.to_owned(), session),
            }
        };
    }

    /// The session got a media playlist of that target duration.
    pub(crate) fn watches(&self, sid: &str, target: Duration, is_ended: bool) {
        let mut table = self.0.lock();
        let Some(session) = table.sessions.get_mut(sid) else {
            return;
        };
        session.seen = Instant::now();
        session.silence = SILENCE.max(target * TARGETS);
        if let Held::Place(place) = &mut session.held
            && let Some(place) = place.take()
        {
            let viewer = place.watch(Protocol::Hls, Lease::default());
            viewer.first();
            session.held = Held::Viewer(viewer);
        }
        if let Held::Viewer(viewer) = &mut session.held
            && is_ended
        {
            viewer.close(Closed::Ended);
        }
    }

    /// The session's first request came to nothing.
    pub(crate) fn fail(&self, sid: &str) {
        let _gone = {
            let mut table = self.0.lock();
            let began = |session: &Session| matches!(session.held, Held::Place(_));
            match table.sessions.get(sid).is_some_and(began) {
                true => table.remove(sid),
                false => None,
            }
        };
    }

    /// The session that a token proves, if that was verified for the same stream and client and still holds.
    pub(crate) fn proven(
        &self,
        token: &str,
        stream: &StreamKey,
        client: IpAddr,
        now_s: u64,
    ) -> Option<(String, Region)> {
        let table = self.0.lock();
        let proof = table.proofs.get(token)?;
        let holds = proof.stream == *stream && proof.client == client && now_s < proof.until_s;
        holds.then(|| (proof.sid.clone(), proof.region))
    }

    /// A token was verified; it is remembered while its session is here.
    pub(crate) fn prove(&self, token: &str, proof: Proof) {
        let Table { sessions, proofs } = &mut *self.0.lock();
        let Some(session) = sessions.get_mut(&proof.sid) else {
            return;
        };
        if let Some(before) = session.token.take_if(|before| **before != *token) {
            proofs.remove(&before);
        }
        let token = session.token.get_or_insert_with(|| token.into());
        proofs.insert(token.clone(), proof);
    }

    /// Lets those go who have been silent; says how many stay.
    pub(crate) fn sweep(&self) -> usize {
        let now = Instant::now();
        let mut table = self.0.lock();
        let Table { sessions, proofs } = &mut *table;
        let silent = |session: &Session| now - session.seen > session.silence;
        let gone: Vec<_> = sessions.extract_if(|_, session| silent(session)).collect();
        let tokens = gone
            .iter()
            .filter_map(|(_, session)| session.token.as_ref());
        tokens.for_each(|token| drop(proofs.remove(token)));
        let stay = sessions.len();
        drop(table);
        drop(gone);
        stay
    }
}

impl Table {
    fn remove(&mut self, sid: &str) -> Option<Session> {
        let session = self.sessions.remove(sid)?;
        if let Some(token) = &session.token {
            self.proofs.remove(token);
        }
        Some(session)
    }
}

/// Whoever has a good token can begin sessions as fast as the node answers: a hundred megabytes of them are enough.
const MAX_SESSIONS: usize = 1 << 18;

/// A player asks for a media playlist as soon as it has the multivariant one.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// A player asks at least once in a target duration, of 6 s by default, while it plays.
/// One that was paused for longer comes back as the session it was.
const SILENCE: Duration = Duration::from_secs(20);

/// The same for longer segments.
const TARGETS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Metrics;
    use crate::viewer::{Group, Viewers};

    fn key(text: &str) -> StreamKey {
        StreamKey::parse(text).unwrap()
    }

    fn place(viewers: &Viewers, sid: &str) -> Place {
        let free = |_| Ok::<_, ()>(());
        let group = Group::of(&key("live/x"), cluster::region::Region::UNKNOWN);
        let entered = viewers.enter(group, Some(sid), free);
        entered.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_one_viewer_until_it_is_silent() {
        let viewers = Viewers::new(Metrics::default());
        let sessions = Sessions::default();
        assert!(!sessions.touch("a", &key("live/x")));
        sessions.begin("a", place(&viewers, "a"));
        sessions.begin("a", place(&viewers, "a"));
        assert_eq!(viewers.total(), 1);
        sessions.watches("a", Duration::from_secs(6), false);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(6)).await;
            assert!(sessions.touch("a", &key("live/x")));
            assert_eq!(sessions.sweep(), 1);
        }
        tokio::time::advance(Duration::from_secs(21)).await;
        assert_eq!((sessions.sweep(), viewers.total()), (0, 0));
    }

    #[test]
    fn there_are_no_more_than_have_room() {
        let viewers = Viewers::new(Metrics::default());
        let sessions = Sessions::default();
        for number in 0..MAX_SESSIONS {
            assert!(sessions.has_room());
            let sid = number.to_string();
            sessions.begin(&sid, place(&viewers, &sid));
        }
        assert!(!sessions.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn a_verified_token_is_good_for_the_same_question_while_its_session_is_here() {
        let viewers = Viewers::new(Metrics::default());
        let sessions = Sessions::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let proof = |sid: &str| Proof {
            sid: sid.to_owned(),
            region: Region::default(),
            stream: key("live/x"),
            client,
            until_s: 100,
        };
        let proven = |token: &str, stream: &str, client, now_s| {
            let proven = sessions.proven(token, &key(stream), client, now_s);
            proven.map(|(sid, _)| sid)
        };
        sessions.prove("t", proof("a"));
        assert_eq!(proven("t", "live/x", client, 1), None, "no such session");
        sessions.begin("a", place(&viewers, "a"));
        sessions.prove("t", proof("a"));
        assert_eq!(proven("t", "live/x", client, 99).as_deref(), Some("a"));
        let other = IpAddr::from([192, 0, 2, 2]);
        for (token, stream, client, now_s) in [
            ("u", "live/x", client, 99),
            ("t", "live/y", client, 99),
            ("t", "live/x", other, 99),
            ("t", "live/x", client, 100),
        ] {
            assert_eq!(proven(token, stream, client, now_s), None);
        }
        sessions.prove("u", proof("a"));
        assert_eq!(
            proven("t", "live/x", client, 1),
            None,
            "one of each session"
        );
        assert_eq!(proven("u", "live/x", client, 1).as_deref(), Some("a"));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(sessions.sweep(), 0);
        assert_eq!(proven("u", "live/x", client, 1), None);
        assert!(sessions.0.lock().proofs.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_got_a_playlist_leaves_sooner() {
        let viewers = Viewers::new(Metrics::default());
        let sessions = Sessions::default();
        sessions.begin("a", place(&viewers, "a"));
        sessions.begin("b", place(&viewers, "b"));
        sessions.fail("b");
        assert_eq!(viewers.total(), 1);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!((sessions.sweep(), viewers.total()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_counts_to_the_rung_that_it_watches() {
        let viewers = Viewers::new(Metrics::default());
        let sessions = Sessions::default();
        sessions.begin("a", place(&viewers, "a"));
        sessions.watches("a", Duration::from_secs(20), false);
        assert!(sessions.touch("a", &key("live/x_480")));
        assert_eq!(viewers.by_stream(), [(key("live/x_480"), 1)]);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(sessions.sweep(), 1);
    }
}
