//! The client, against a hand-driven server.

use super::super::link;
use super::super::message::user_control;
use super::*;
use proptest::prelude::*;

/// A client behind the handshake and a hand-driven server.
struct Server {
    client: Client,
    now: Instant,
    link: Link,
    heard: Vec<Command>,
    events: Vec<Event>,
}

impl Server {
    fn new(role: Role) -> Self {
        let url = Url::parse("rtmp://host/live/x?token=y").unwrap();
        let now = Instant::now();
        let limits = Limits {
            message: MAX_MESSAGE,
            unfinished: MAX_MESSAGE,
        };
        let mut server = Self {
            client: Client::new(url, role, 1, now),
            now,
            link: Link::new(Handshake::server(2), limits),
            heard: vec![],
            events: vec![],
        };
        server.exchange().unwrap();
        server
    }

    /// Carries bytes to and fro until both are quiet.
    fn exchange(&mut self) -> Result<(), Error> {
        loop {
            let mut bytes = Vec::new();
            while let Some(output) = self.client.poll_output() {
                match output {
                    link::Output::Send(part) => bytes.extend_from_slice(&part),
                    link::Output::Event(event) => self.events.push(event),
                    link::Output::Deadline(_) => {}
                }
            }
            let mut bytes = Bytes::from(bytes);
            if self.link.open(&mut bytes)? {
                while let Some(message) = self.link.read(&mut bytes)? {
                    if message.kind == kind::COMMAND {
                        self.heard.push(Command::decode(&message).unwrap());
                    }
                }
            }
            let answer: Vec<u8> = std::iter::from_fn(|| self.link.pop()).flatten().collect();
            if answer.is_empty() {
                return Ok(());
            }
            self.client.handle_input(self.now, answer.into())?;
        }
    }

    fn say(&mut self, command: Command) -> Result<(), Error> {
        self.link.send_command(0, &command);
        self.exchange()
    }

    fn result(&mut self, transaction: f64, result: Value) -> Result<(), Error> {
        self.say(Command::new(
            "_result",
            transaction,
            vec![Value::Null, result],
        ))
    }

    fn names(&mut self) -> Vec<String> {
        self.heard.drain(..).map(|command| command.name).collect()
    }
}

#[test]
fn a_publisher_asks_in_the_order_that_servers_expect() {
    let mut server = Server::new(Role::Publish);
    assert_eq!(server.heard[0].member(0, "app"), Some("live"));
    assert_eq!(
        server.heard[0].member(0, "tcUrl"),
        Some("rtmp://host:1935/live")
    );
    assert_eq!(server.names(), ["connect"]);
    server.result(CONNECT, Value::Null).unwrap();
    assert_eq!(
        server.names(),
        ["releaseStream", "FCPublish", "createStream"]
    );
    // A server that knows neither does not stop it.
    server
        .say(Command::new("_error", RELEASE_STREAM, vec![]))
        .unwrap();
    server.result(CREATE_STREAM, Value::Number(3.0)).unwrap();
    assert_eq!(server.heard[0].text(1), Some("x?token=y"));
    assert_eq!(server.names(), ["publish"]);
    server
        .say(Command::status("status", "NetStream.Publish.Start", ""))
        .unwrap();
    assert_eq!(server.events, [Event::Connected, Event::Published]);
    server.client.finish();
    server.exchange().unwrap();
    assert_eq!(server.names(), ["FCUnpublish", "deleteStream"]);
}

#[test]
fn a_refusal_at_any_step_is_told_with_its_code() {
    let refusals = [
        Command {
            name: "_error".into(),
            transaction: CONNECT,
            ..Command::status("error", "A", "b")
        },
        Command::status("error", "A", "b"),
    ];
    for refusal in refusals {
        let mut server = Server::new(Role::Publish);
        server.say(refusal).unwrap();
        let (code, description) = ("A".to_owned(), "b".to_owned());
        assert_eq!(server.events, [Event::Refused { code, description }]);
    }
}

#[test]
fn a_stream_without_a_number_is_an_error() {
    let mut server = Server::new(Role::Play);
    server.result(CONNECT, Value::Null).unwrap();
    assert!(matches!(
        server.result(CREATE_STREAM, Value::Null),
        Err(Error::Order(_))
    ));
}

#[test]
fn a_player_takes_media_and_the_end() {
    let mut server = Server::new(Role::Play);
    server.result(CONNECT, Value::Null).unwrap();
    server.result(CREATE_STREAM, Value::Number(1.0)).unwrap();
    assert_eq!(server.names(), ["connect", "createStream", "play"]);
    server
        .say(Command::status("status", "NetStream.Play.Start", ""))
        .unwrap();
    let media = Media {
        tag_type: 9,
        timestamp: Timestamp::from_millis(5),
        body: "v".into(),
    };
    server.link.send_media(1, media.clone(), &[]);
    server
        .say(Command::status(
            "status",
            "NetStream.Play.UnpublishNotify",
            "",
        ))
        .unwrap();
    assert_eq!(
        server.events,
        [
            Event::Connected,
            Event::Playing,
            Event::Media(media),
            Event::Closed
        ]
    );
}

#[test]
fn a_silent_server_is_given_up_until_it_let_us_start() {
    let url = || Url::parse("rtmp://host/live/x").unwrap();
    let now = Instant::now();
    let mut client = Client::new(url(), Role::Publish, 0, now);
    assert_eq!(client.handle_deadline(now), Ok(()));
    let late = now + START_TIMEOUT;
    assert_eq!(
        client.handle_deadline(late),
        Err(Error::Timeout("the handshake"))
    );
    let mut server = Server::new(Role::Publish);
    assert!(
        server
            .client
            .handle_deadline(server.now + START_TIMEOUT)
            .is_err()
    );
    server.result(CONNECT, Value::Null).unwrap();
    server.result(CREATE_STREAM, Value::Number(1.0)).unwrap();
    server
        .say(Command::status("status", "NetStream.Publish.Start", ""))
        .unwrap();
    assert_eq!(
        server.client.handle_deadline(server.now + START_TIMEOUT),
        Ok(())
    );
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut server = Server::new(Role::Play);
        let _ = server.client.handle_input(server.now, bytes.into());
    }

    #[test]
    fn odd_control_messages_never_panic(event in any::<u16>(), kind in 0u8..8, cut in 0usize..7) {
        let mut server = Server::new(Role::Play);
        let body = user_control(event, &[1]).slice(..cut);
        server.link.send_media(
            0,
            Media { tag_type: kind, timestamp: Timestamp::ZERO, body },
            &[],
        );
        let _ = server.exchange();
    }
}
