//! The server session, against a hand-driven peer and against our own client.

use super::super::client::{self, Client, Url};
use super::super::command::{Command, object, text};
use super::super::message::{event, user_control};
use super::*;
use media::amf::Value;
use media::flv::tag;
use proptest::prelude::*;

const URL: &str = "rtmp://host/live/x?token=y";

fn start() -> Instant {
    Instant::now()
}

/// A server's session, and bytes and events that came out of it.
struct Server {
    session: Session,
    now: Instant,
    sent: Vec<u8>,
    events: Vec<Event>,
    deadline: Option<Instant>,
}

impl Server {
    fn new() -> Self {
        let now = start();
        let session = Session::new(Config::default(), 1, now);
        let mut server = Self {
            session,
            now,
            sent: vec![],
            events: vec![],
            deadline: None,
        };
        server.drain();
        server
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.sent.extend_from_slice(&bytes),
                Output::Event(event) => self.events.push(event),
                Output::Deadline(deadline) => self.deadline = Some(deadline),
            }
        }
        assert_eq!(self.session.queued_bytes(), 0);
    }

    fn input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let result = self
            .session
            .handle_input(self.now, Bytes::copy_from_slice(bytes));
        self.drain();
        result
    }

    /// Lets the deadline come.
    fn wait(&mut self) -> Result<(), Error> {
        self.now = self.deadline.expect("a deadline");
        let result = self.session.handle_deadline(self.now);
        self.drain();
        result
    }

    fn accept(&mut self) -> Result<(), Error> {
        let result = match self.events.pop() {
            Some(Event::Publish(_)) => self.session.accept_publish(self.now),
            Some(Event::Play(_)) => self.session.accept_play(self.now),
            other => panic!("nothing to accept: {other:?}"),
        };
        self.drain();
        result
    }
}

/// A hand-driven peer behind the handshake: says what a test wants, hears all that is answered.
struct Peer {
    server: Server,
    link: Link,
    heard: Vec<Message>,
}

impl Peer {
    fn new() -> Self {
        let (handshake, hello) = Handshake::client(2);
        let limits = Limits {
            message: MAX_MESSAGE,
            unfinished: MAX_MESSAGE,
        };
        let mut link = Link::new(handshake, limits);
        link.push(hello);
        let mut peer = Self {
            server: Server::new(),
            link,
            heard: vec![],
        };
        peer.exchange().unwrap();
        assert!(!peer.link.is_opening());
        peer
    }

    fn connected() -> Self {
        let mut peer = Self::new();
        let about = object([
            ("app", text("live")),
            ("tcUrl", text("rtmp://host/live")),
            ("flashVer", text("test")),
        ]);
        peer.call("connect", 1.0, vec![about]);
        assert_eq!(peer.answer("_result").transaction, 1.0);
        peer
    }

    fn publishing() -> Self {
        let mut peer = Self::connected();
        peer.call(
            "publish",
            5.0,
            vec![Value::Null, text("x?token=y"), text("live")],
        );
        peer.server.accept().unwrap();
        peer.exchange().unwrap();
        assert_eq!(peer.code(), "NetStream.Publish.Start");
        peer
    }

    fn playing() -> Self {
        let mut peer = Self::connected();
        peer.call("play", 5.0, vec![Value::Null, text("x")]);
        peer.server.accept().unwrap();
        peer.exchange().unwrap();
        peer
    }

    /// Carries bytes to and fro until both are quiet.
    fn exchange(&mut self) -> Result<(), Error> {
        loop {
            let mut bytes = Vec::new();
            while let Some(part) = self.link.pop() {
                bytes.extend_from_slice(&part);
            }
            if bytes.is_empty() && self.server.sent.is_empty() {
                return Ok(());
            }
            if !bytes.is_empty() {
                self.server.input(&bytes)?;
            }
            let mut input = Bytes::from(std::mem::take(&mut self.server.sent));
            if self.link.open(&mut input)? {
                while let Some(message) = self.link.read(&mut input)? {
                    self.heard.push(message);
                }
            }
        }
    }

    fn send(&mut self, name: &str, transaction: f64, arguments: Vec<Value>) {
        self.link
            .send_command(1, &Command::new(name, transaction, arguments));
    }

    fn call(&mut self, name: &str, transaction: f64, arguments: Vec<Value>) {
        self.send(name, transaction, arguments);
        self.exchange().unwrap();
    }

    fn media(&mut self, tag_type: u8, ms: i64, body: &'static str) {
        let timestamp = Timestamp::from_millis(ms);
        self.link.send_media(
            1,
            Media {
                tag_type,
                timestamp,
                body: body.into(),
            },
            &[],
        );
    }

    /// The first command of that name that was heard.
    #[track_caller]
    fn answer(&mut self, name: &str) -> Command {
        let mut commands = self
            .heard
            .iter()
            .filter(|message| message.kind == kind::COMMAND)
            .map(|message| Command::decode(message).unwrap());
        commands.find(|command| command.name == name).expect(name)
    }

    /// The code of the last `onStatus` heard.
    fn code(&self) -> String {
        let commands = self
            .heard
            .iter()
            .filter(|message| message.kind == kind::COMMAND);
        let statuses = commands
            .map(|message| Command::decode(message).unwrap())
            .filter(|command| command.name == "onStatus");
        statuses
            .last()
            .expect("a status")
            .member(1, "code")
            .unwrap()
            .to_owned()
    }
}

fn media_event(tag_type: u8, ms: i64, body: &'static str) -> Event {
    Event::Media(Media {
        tag_type,
        timestamp: Timestamp::from_millis(ms),
        body: body.into(),
    })
}

#[test]
fn connect_is_answered_with_what_enhanced_rtmp_asks_for() {
    let mut peer = Peer::connected();
    let answer = peer.answer("_result");
    assert_eq!(
        answer.member(1, "code"),
        Some("NetConnection.Connect.Success")
    );
    for about in &answer.arguments {
        assert!(about.get("fourCcList").is_some());
        assert!(
            about
                .get("videoFourCcInfoMap")
                .and_then(|map| map.get("hvc1"))
                .is_some()
        );
        assert!(
            about
                .get("audioFourCcInfoMap")
                .and_then(|map| map.get("Opus"))
                .is_some()
        );
        assert_eq!(about.get("capsEx").and_then(Value::as_f64), Some(12.0));
    }
    assert_eq!(
        answer.arguments[1].get("objectEncoding"),
        Some(&Value::Number(0.0))
    );
}

#[test]
fn the_target_holds_stream_query_and_agent() {
    let mut peer = Peer::connected();
    peer.call(
        "publish",
        5.0,
        vec![Value::Null, text("x?token=y"), text("live")],
    );
    let [Event::Publish(target)] = &peer.server.events[..] else {
        panic!("no question")
    };
    assert_eq!((&*target.app, &*target.stream), ("live", "x"));
    assert_eq!((target.param("token"), &*target.agent), (Some("y"), "test"));
}

#[test]
fn the_calls_of_encoders_and_players_are_answered() {
    let null = Value::Null;
    let rows = [
        ("releaseStream", Value::Undefined),
        ("FCPublish", Value::Undefined),
        ("createStream", Value::Number(1.0)),
        ("getStreamLength", Value::Number(0.0)),
        ("FCSubscribe", Value::Undefined),
        ("_checkbw", Value::Undefined),
    ];
    for (name, want) in rows {
        let mut peer = Peer::connected();
        peer.heard.clear();
        peer.call(name, 7.0, vec![null.clone(), text("x")]);
        let answer = peer.answer("_result");
        assert_eq!(
            (answer.transaction, &answer.arguments[1]),
            (7.0, &want),
            "{name}"
        );
    }
    let mut peer = Peer::connected();
    peer.call("FCPublish", 0.0, vec![null.clone(), text("x")]);
    assert_eq!(
        peer.answer("onFCPublish").member(1, "description"),
        Some("x")
    );
    peer.call("bogus", 8.0, vec![null.clone()]);
    assert_eq!(
        peer.answer("_error").member(1, "code"),
        Some("NetConnection.Call.Failed")
    );
    peer.heard.clear();
    peer.call("bogus", 0.0, vec![null]);
    assert!(peer.heard.is_empty());
}

#[test]
fn media_comes_out_as_it_went_in() {
    let mut peer = Peer::publishing();
    peer.media(tag::SCRIPT, 0, "\u{2}\0\u{d}@setDataFramemeta");
    peer.media(tag::VIDEO, 40, "video");
    peer.media(tag::AUDIO, 23, "");
    peer.exchange().unwrap();
    let want = [
        media_event(tag::SCRIPT, 0, "meta"),
        media_event(tag::VIDEO, 40, "video"),
        media_event(tag::AUDIO, 23, ""),
    ];
    assert_eq!(peer.server.events, want);
}

#[test]
fn media_behind_publish_waits_for_the_answer() {
    let mut peer = Peer::connected();
    peer.media(tag::VIDEO, 0, "too early");
    peer.send("publish", 5.0, vec![Value::Null, text("x")]);
    peer.media(tag::VIDEO, 40, "in time");
    peer.exchange().unwrap();
    assert!(matches!(peer.server.events[..], [Event::Publish(_)]));
    assert!(matches!(peer.server.input(b"more"), Err(Error::Order(_))));
    peer.server.accept().unwrap();
    assert_eq!(peer.server.events, [media_event(tag::VIDEO, 40, "in time")]);
}

#[test]
fn a_refused_peer_hears_why_and_nothing_else_is_read() {
    let mut peer = Peer::connected();
    peer.send("publish", 5.0, vec![Value::Null, text("x")]);
    peer.media(tag::VIDEO, 40, "in time");
    peer.exchange().unwrap();
    peer.server
        .session
        .refuse("NetStream.Publish.BadName", "taken");
    peer.server.drain();
    peer.media(tag::VIDEO, 80, "later");
    peer.exchange().unwrap();
    let status = peer.answer("onStatus");
    assert_eq!(status.member(1, "level"), Some("error"));
    assert_eq!(status.member(1, "code"), Some("NetStream.Publish.BadName"));
    assert_eq!(status.member(1, "description"), Some("taken"));
    assert_eq!(status.member(1, "details"), Some("x"));
    assert_eq!(peer.server.events.len(), 1);
}

#[test]
fn a_second_publish_or_play_is_refused_and_the_first_goes_on() {
    for (name, code) in [
        ("publish", "NetStream.Publish.Denied"),
        ("play", "NetStream.Play.Failed"),
    ] {
        let mut peer = Peer::publishing();
        peer.call(name, 6.0, vec![Value::Null, text("z")]);
        assert_eq!(peer.code(), code);
        peer.media(tag::AUDIO, 0, "a");
        peer.exchange().unwrap();
        assert_eq!(peer.server.events, [media_event(tag::AUDIO, 0, "a")]);
    }
}

#[test]
fn publish_before_connect_is_an_error() {
    let mut peer = Peer::new();
    peer.send("publish", 5.0, vec![Value::Null, text("x")]);
    assert!(matches!(peer.exchange(), Err(Error::Order(_))));
}

#[test]
fn each_way_to_stop_finishes_once() {
    for name in ["FCUnpublish", "deleteStream", "closeStream"] {
        let mut peer = Peer::connected();
        peer.call(name, 0.0, vec![Value::Null]);
        assert!(peer.server.events.is_empty(), "{name} before publish");
        let mut peer = Peer::publishing();
        peer.call(name, 0.0, vec![Value::Null, text("x")]);
        assert_eq!(peer.code(), "NetStream.Unpublish.Success");
        peer.call("deleteStream", 0.0, vec![Value::Null, Value::Number(1.0)]);
        assert_eq!(peer.server.events, [Event::Finished], "{name}");
    }
}

#[test]
fn a_player_pauses_and_goes_on() {
    let mut peer = Peer::playing();
    peer.call(
        "pause",
        0.0,
        vec![Value::Null, Value::Boolean(true), Value::Number(0.0)],
    );
    assert_eq!(peer.code(), "NetStream.Pause.Notify");
    peer.call(
        "pause",
        0.0,
        vec![Value::Null, Value::Boolean(false), Value::Number(0.0)],
    );
    assert_eq!(peer.code(), "NetStream.Unpause.Notify");
    assert_eq!(peer.server.events, [Event::Paused, Event::Resumed]);
}

#[test]
fn a_payload_is_sent_by_reference() {
    let mut peer = Peer::playing();
    let payload = Bytes::from(vec![5; 1000]);
    let session = &mut peer.server.session;
    session.send_media(
        tag::VIDEO,
        Timestamp::from_millis(1),
        b"head",
        payload.clone(),
    );
    assert_eq!(session.queued_bytes(), 12 + 4 + 1000);
    let sent: Vec<_> = std::iter::from_fn(|| session.poll_output()).collect();
    let [Output::Send(head), Output::Send(body)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!((body.as_ptr(), body.len()), (payload.as_ptr(), 1000));
    assert_eq!(head[12..], *b"head");
}

#[test]
fn a_ping_is_answered() {
    let mut peer = Peer::connected();
    peer.heard.clear();
    peer.link.send_user_control(event::PING_REQUEST, &[77]);
    peer.exchange().unwrap();
    let [answer] = &peer.heard[..] else {
        panic!("{:?}", peer.heard)
    };
    assert_eq!(answer.body, user_control(event::PING_RESPONSE, &[77]));
}

#[test]
fn input_is_acknowledged_as_the_peer_asks() {
    let mut server = Server::new();
    let (_, hello) = Handshake::client(0);
    server.input(&hello).unwrap();
    server.input(&hello[1..]).unwrap();
    server.sent.clear();
    // A window of 8192, smaller ones being taken as that; then 20,000 bytes of an unknown message.
    server
        .input(&[
            2,
            0,
            0,
            0,
            0,
            0,
            4,
            kind::WINDOW_SIZE,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            1,
        ])
        .unwrap();
    server
        .input(&[
            2,
            0,
            0,
            0,
            0,
            0,
            4,
            kind::SET_CHUNK_SIZE,
            0,
            0,
            0,
            0,
            0,
            1,
            0,
            0,
        ])
        .unwrap();
    server
        .input(&[5, 0, 0, 0, 0, 0x4e, 0x20, 99, 0, 0, 0, 0])
        .unwrap();
    for _ in 0..20 {
        server.input(&[0; 1000]).unwrap();
    }
    let acknowledged: Vec<u32> = server
        .sent
        .chunks(16)
        .map(|message| u32::from_be_bytes(message[12..].try_into().unwrap()))
        .collect();
    assert_eq!(acknowledged, [5044, 10_044, 15_044, 20_044]);
}

#[test]
fn a_silent_peer_is_given_up_in_each_stage() {
    let mut server = Server::new();
    assert_eq!(server.wait(), Err(Error::Timeout("the handshake")));
    let mut peer = Peer::connected();
    assert_eq!(peer.server.wait(), Err(Error::Timeout("publish or play")));
    let mut peer = Peer::publishing();
    assert_eq!(peer.server.wait(), Err(Error::Timeout("media")));
}

#[test]
fn bytes_that_complete_nothing_do_not_move_the_deadline() {
    let mut server = Server::new();
    let deadline = server.deadline;
    for _ in 0..9 {
        server.now += Duration::from_secs(1);
        server.input(&[3]).unwrap();
    }
    assert_eq!(server.deadline, deadline);
    assert!(server.wait().is_err());
}

#[test]
fn media_keeps_a_publisher_alive() {
    let mut peer = Peer::publishing();
    let begin = peer.server.now;
    peer.server.now += Duration::from_secs(10);
    peer.media(tag::AUDIO, 0, "a");
    peer.exchange().unwrap();
    assert_eq!(peer.server.wait(), Ok(()));
    assert_eq!(peer.server.deadline, Some(begin + Duration::from_secs(25)));
    assert_eq!(peer.server.wait(), Err(Error::Timeout("media")));
}

#[test]
fn a_player_and_an_open_question_have_no_deadline() {
    let mut peer = Peer::playing();
    assert_eq!(peer.server.wait(), Ok(()));
    let mut peer = Peer::connected();
    peer.call("play", 5.0, vec![Value::Null, text("x")]);
    assert_eq!(peer.server.wait(), Ok(()));
}

#[test]
fn only_a_publisher_may_send_much() {
    let big = Media {
        tag_type: tag::VIDEO,
        timestamp: Timestamp::ZERO,
        body: vec![0; 70_000].into(),
    };
    let mut peer = Peer::publishing();
    peer.link.send_media(1, big.clone(), &[]);
    assert_eq!(peer.exchange(), Ok(()));
    let mut peer = Peer::connected();
    peer.link.send_media(1, big, &[]);
    assert!(matches!(peer.exchange(), Err(Error::Chunk(_))));
}

/// A client and a server joined by a byte stream that is cut into pieces.
struct Pair {
    server: Server,
    client: Client,
    client_events: Vec<client::Event>,
    piece: usize,
}

impl Pair {
    fn new(role: client::Role, piece: usize) -> Self {
        let server = Server::new();
        let client = Client::new(Url::parse(URL).unwrap(), role, 9, server.now);
        let mut pair = Self {
            server,
            client,
            client_events: vec![],
            piece,
        };
        pair.exchange();
        pair
    }

    fn exchange(&mut self) {
        loop {
            let mut bytes = Vec::new();
            while let Some(output) = self.client.poll_output() {
                match output {
                    client::Output::Send(part) => bytes.extend_from_slice(&part),
                    client::Output::Event(event) => self.client_events.push(event),
                    client::Output::Deadline(_) => {}
                }
            }
            if bytes.is_empty() && self.server.sent.is_empty() {
                return;
            }
            for part in bytes.chunks(self.piece) {
                self.server.input(part).unwrap();
                if matches!(
                    self.server.events.last(),
                    Some(Event::Publish(_) | Event::Play(_))
                ) {
                    self.server.accept().unwrap();
                }
            }
            for part in std::mem::take(&mut self.server.sent).chunks(self.piece) {
                self.client
                    .handle_input(self.server.now, Bytes::copy_from_slice(part))
                    .unwrap();
            }
        }
    }
}

#[test]
fn a_client_is_told_that_the_stream_ended() {
    let mut pair = Pair::new(client::Role::Play, 1000);
    pair.server.session.end_play();
    pair.server.drain();
    pair.exchange();
    assert_eq!(pair.client_events.last(), Some(&client::Event::Closed));
}

#[test]
fn a_client_that_is_thrown_out_is_told_why() {
    let mut pair = Pair::new(client::Role::Publish, 1000);
    pair.server
        .session
        .refuse("NetStream.Publish.Denied", "kicked");
    pair.server.drain();
    pair.exchange();
    let (code, description) = ("NetStream.Publish.Denied".to_owned(), "kicked".to_owned());
    let refused = client::Event::Refused { code, description };
    assert_eq!(pair.client_events.last(), Some(&refused));
}

fn any_media() -> impl Strategy<Value = (u8, i64, Vec<u8>, Vec<u8>)> {
    let body = prop::collection::vec(any::<u8>(), 0..300);
    let tag_type = prop_oneof![Just(tag::AUDIO), Just(tag::VIDEO)];
    (
        tag_type,
        0i64..1 << 33,
        prop::collection::vec(any::<u8>(), 0..20),
        body,
    )
}

/// Times as a stream has them: steps of less than a minute, from anywhere in 99 days.
fn any_stream() -> impl Strategy<Value = Vec<(u8, i64, Vec<u8>, Vec<u8>)>> {
    let start = prop_oneof![Just(0i64), (1i64 << 32) - 50_000..1 << 32];
    (start, prop::collection::vec(any_media(), 0..20)).prop_map(|(start, mut all)| {
        all.iter_mut()
            .for_each(|(_, ms, _, _)| *ms = start + *ms % 60_000);
        if let Some(first) = all.first_mut() {
            first.1 = start;
        }
        all
    })
}

fn expected(stream: &[(u8, i64, Vec<u8>, Vec<u8>)]) -> Vec<Media> {
    let media = |(tag_type, ms, head, body): &(u8, i64, Vec<u8>, Vec<u8>)| Media {
        tag_type: *tag_type,
        timestamp: Timestamp::from_millis(*ms),
        body: [&head[..], body].concat().into(),
    };
    stream.iter().map(media).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_client_publishes_however_the_bytes_are_split(
        stream in any_stream(),
        piece in 1usize..3000,
    ) {
        let mut pair = Pair::new(client::Role::Publish, piece);
        let want = [client::Event::Connected, client::Event::Published];
        prop_assert_eq!(&pair.client_events[..], want);
        for (tag_type, ms, head, body) in &stream {
            let body = Bytes::copy_from_slice(body);
            pair.client.send_media(*tag_type, Timestamp::from_millis(*ms), head, body);
        }
        pair.client.finish();
        pair.exchange();
        let mut want: Vec<Event> = expected(&stream).into_iter().map(Event::Media).collect();
        want.push(Event::Finished);
        prop_assert_eq!(&pair.server.events, &want);
    }

    #[test]
    fn a_client_plays_however_the_bytes_are_split(
        stream in any_stream(),
        piece in 1usize..3000,
    ) {
        let mut pair = Pair::new(client::Role::Play, piece);
        for (tag_type, ms, head, body) in &stream {
            let body = Bytes::copy_from_slice(body);
            pair.server.session.send_media(*tag_type, Timestamp::from_millis(*ms), head, body);
        }
        pair.server.drain();
        pair.exchange();
        let mut events = pair.client_events.into_iter();
        prop_assert_eq!(events.next(), Some(client::Event::Connected));
        prop_assert_eq!(events.next(), Some(client::Event::Playing));
        // |RtmpSampleAccess comes first.
        let access = matches!(events.next(), Some(client::Event::Media(m)) if m.tag_type == 18);
        prop_assert!(access);
        let want: Vec<_> = expected(&stream).into_iter().map(client::Event::Media).collect();
        prop_assert_eq!(events.collect::<Vec<_>>(), want);
    }

    #[test]
    fn random_bytes_behind_the_handshake_never_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..25], 0..2000),
        publishing in any::<bool>(),
    ) {
        let mut peer = if publishing { Peer::publishing() } else { Peer::connected() };
        for part in bytes.chunks(500) {
            if peer.server.input(part).is_err() {
                break;
            }
            if let Some(Event::Publish(_) | Event::Play(_)) = peer.server.events.last() {
                break;
            }
        }
    }
}
