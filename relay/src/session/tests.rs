//! Both ends of a session driven by hand: subscriptions, refusals, loops, announcements, lateness.

use std::sync::Arc;
use std::time::{Duration, Instant};

use media::frame::{Frame, Kind, TrackId};
use media::timestamp::Timestamp;

use super::*;
use crate::cache::Cache;
use crate::group::{Header, Key};
use crate::track;
use crate::wire::{Close, MAX_HOPS, Messages, Refusal, Start};

fn node(name: &str) -> String {
    name.to_owned()
}

fn hello() -> Message {
    Message::Hello {
        versions: vec![3, 2],
        node: node("down"),
    }
}

fn subscribe(id: u64, hops: &[&str]) -> Message {
    let hops = hops.iter().map(|hop| node(hop)).collect();
    Message::Subscribe {
        id,
        stream: node("live/x"),
        hops,
        start: Start::Latest,
    }
}

fn said(bytes: &Bytes) -> String {
    let mut messages = Messages::default();
    messages.push(bytes);
    format!("{:?}", messages.take().unwrap().unwrap())
}

mod serving {
    use super::super::server::{Input, Output, Sent, Server};
    use super::*;

    fn server() -> (Server, Instant) {
        let now = Instant::now();
        let mut server = Server::new("me", now);
        assert_eq!(
            server.poll_output(),
            Some(Output::Wake(Some(now + HELLO_WITHIN)))
        );
        (server, now)
    }

    /// What comes out of an input, in short.
    fn handle(server: &mut Server, input: Input) -> Vec<String> {
        server.handle_input(input);
        let outputs = std::iter::from_fn(|| server.poll_output());
        outputs
            .map(|output| match output {
                Output::Send(bytes) => said(&bytes),
                output => format!("{output:?}"),
            })
            .collect()
    }

    fn open() -> Server {
        let (mut server, _) = server();
        let outputs = handle(&mut server, Input::Message(hello()));
        assert_eq!(
            outputs,
            [r#"Welcome { version: 2, node: "me" }"#, "Wake(None)"]
        );
        assert_eq!(server.peer(), "down");
        server
    }

    fn closed(close: Close) -> Vec<String> {
        vec![format!("Close({close:?})")]
    }

    #[test]
    fn a_peer_must_say_hello_first_once_and_in_time() {
        let other = Message::Hello {
            versions: vec![1, 3],
            node: node("down"),
        };
        let rows = [
            (Input::Timeout, Close::Timeout),
            (Input::Message(other), Close::Version),
            (Input::Message(subscribe(0, &["down"])), Close::Protocol),
        ];
        for (input, close) in rows {
            let (mut server, _) = server();
            assert_eq!(handle(&mut server, input), closed(close));
            assert!(
                handle(&mut server, Input::Message(hello())).is_empty(),
                "nothing after"
            );
        }
        assert_eq!(
            handle(&mut open(), Input::Message(hello())),
            closed(Close::Protocol)
        );
        assert!(handle(&mut open(), Input::Timeout).is_empty());
    }

    #[test]
    fn a_subscription_is_resolved_accepted_and_ended() {
        let mut server = open();
        let outputs = handle(&mut server, Input::Message(subscribe(3, &["leaf", "down"])));
        let resolve =
            r#"Resolve { id: 3, stream: "live/x", hops: ["leaf", "down"], start: Latest }"#;
        assert_eq!(outputs, [resolve]);
        let outputs = handle(&mut server, Input::Resolved(3, Ok(vec![node("origin")])));
        let accepted = r#"Accepted { id: 3, hops: ["origin", "me"] }"#;
        assert_eq!(outputs, [accepted, "Start(3, Latest)"]);
        let outputs = handle(&mut server, Input::Ended(3, Sent::default()));
        assert_eq!(outputs, ["Ended { id: 3, last: None, groups: 0 }"]);
        assert!(handle(&mut server, Input::Ended(3, Sent::default())).is_empty());
    }

    #[test]
    fn refusals_say_why() {
        let long: Vec<String> = (0..MAX_HOPS).map(|hop| format!("n{hop}")).collect();
        let rows = [
            (Err(Refusal::NotFound), "NotFound"),
            (Err(Refusal::Overloaded), "Overloaded"),
            (Ok(vec![node("origin"), node("down")]), "Loop"),
            (Ok(long), "Loop"),
        ];
        for (result, refusal) in rows {
            let mut server = open();
            handle(&mut server, Input::Message(subscribe(0, &["down"])));
            let refused = format!("Refused {{ id: 0, refusal: {refusal} }}");
            assert_eq!(handle(&mut server, Input::Resolved(0, result)), [refused]);
        }
        let mut server = open();
        let outputs = handle(&mut server, Input::Message(subscribe(0, &["me", "down"])));
        assert_eq!(outputs, ["Refused { id: 0, refusal: Loop }"]);
    }

    #[test]
    fn subscription_numbers_only_grow_and_hops_name_somebody() {
        let mut server = open();
        handle(&mut server, Input::Message(subscribe(5, &["down"])));
        let again = handle(&mut server, Input::Message(subscribe(5, &["down"])));
        assert_eq!(again, closed(Close::Protocol));
        let nobody = handle(&mut open(), Input::Message(subscribe(0, &[])));
        assert_eq!(nobody, closed(Close::Protocol));
    }

    #[test]
    fn a_subscription_that_was_given_up_is_stopped_and_not_answered() {
        let mut server = open();
        handle(&mut server, Input::Message(subscribe(0, &["down"])));
        let outputs = handle(&mut server, Input::Message(Message::Unsubscribe { id: 0 }));
        assert_eq!(outputs, ["Stop(0)"]);
        assert!(handle(&mut server, Input::Resolved(0, Ok(vec![]))).is_empty());
        assert!(handle(&mut server, Input::Message(Message::Unsubscribe { id: 0 })).is_empty());
    }

    #[test]
    fn a_peer_has_so_many_subscriptions() {
        let mut server = open();
        for id in 0..MAX_SUBSCRIPTIONS as u64 {
            assert!(
                handle(&mut server, Input::Message(subscribe(id, &["down"])))[0]
                    .contains("Resolve")
            );
        }
        let outputs = handle(&mut server, Input::Message(subscribe(9999, &["down"])));
        assert_eq!(outputs, ["Refused { id: 9999, refusal: Overloaded }"]);
    }

    #[test]
    fn draining_refuses_and_closes_when_nothing_is_left() {
        let mut server = open();
        handle(&mut server, Input::Message(subscribe(0, &["down"])));
        handle(&mut server, Input::Resolved(0, Ok(vec![])));
        assert!(handle(&mut server, Input::Drain).is_empty());
        let outputs = handle(&mut server, Input::Message(subscribe(1, &["down"])));
        assert_eq!(outputs, ["Refused { id: 1, refusal: Draining }"]);
        let outputs = handle(&mut server, Input::Ended(0, Sent::default()));
        assert_eq!(
            outputs,
            ["Ended { id: 0, last: None, groups: 0 }", "Close(Done)"]
        );
    }
}

mod asking {
    use super::super::client::{Client, Input, Output};
    use super::*;

    fn handle(client: &mut Client, input: Input) -> Vec<String> {
        client.handle_input(input);
        let outputs = std::iter::from_fn(|| client.poll_output());
        outputs
            .map(|output| match output {
                Output::Send(bytes) => said(&bytes),
                output => format!("{output:?}"),
            })
            .collect()
    }

    fn open() -> Client {
        let mut client = Client::new("me", Instant::now());
        let welcome = Message::Welcome {
            version: 2,
            node: node("up"),
        };
        let outputs = handle(&mut client, Input::Message(welcome));
        let hello = r#"Hello { versions: [2], node: "me" }"#;
        assert_eq!(outputs[1..], [hello, "Wake(None)", r#"Open("up")"#]);
        client
    }

    fn ask(client: &mut Client, stream: &str, hops: usize) -> Vec<String> {
        let hops = vec![node("leaf"); hops];
        let input = Input::Subscribe {
            id: 4,
            stream: node(stream),
            hops,
            start: Start::Latest,
        };
        handle(client, input)
    }

    #[test]
    fn a_peer_must_welcome_first_once_and_in_time() {
        let other = Message::Welcome {
            version: 9,
            node: node("up"),
        };
        let rows = [
            (Input::Timeout, "Close(Timeout)"),
            (Input::Message(other), "Close(Version)"),
            (Input::Message(hello()), "Close(Protocol)"),
        ];
        for (input, close) in rows {
            let mut client = Client::new("me", Instant::now());
            assert_eq!(handle(&mut client, input).last().unwrap(), close);
        }
        let again = Message::Welcome {
            version: 2,
            node: node("up"),
        };
        assert_eq!(
            handle(&mut open(), Input::Message(again)),
            ["Close(Protocol)"]
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused_at_home() {
        assert!(ask(&mut open(), "live/x", 1)[0].contains(r#"hops: ["leaf", "me"]"#));
        assert_eq!(ask(&mut open(), "live/x", MAX_HOPS), ["Refused(4, Loop)"]);
        assert_eq!(ask(&mut open(), "not a name", 0), ["Refused(4, NotFound)"]);
    }

    #[test]
    fn answers_reach_who_asked_and_no_one_else() {
        let accepted = |hops: &[&str]| Message::Accepted {
            id: 4,
            hops: hops.iter().map(|hop| node(hop)).collect(),
        };
        let ended = Message::Ended {
            id: 4,
            last: Some(Key::default()),
            groups: 3,
        };
        let refused = Message::Refused {
            id: 4,
            refusal: Refusal::NotFound,
        };
        let rows: [(Message, &[&str]); 4] = [
            (accepted(&["up"]), &[r#"Accepted(4, ["up"])"#]),
            (
                accepted(&["me", "up"]),
                &["Unsubscribe { id: 4 }", "Refused(4, Loop)"],
            ),
            (refused, &["Refused(4, NotFound)"]),
            (ended, &["Ended(4, Some(Key { epoch: 0, number: 0 }), 3)"]),
        ];
        for (message, outputs) in rows {
            let mut client = open();
            assert!(
                handle(&mut client, Input::Message(message.clone())).is_empty(),
                "not asked"
            );
            ask(&mut client, "live/x", 0);
            assert_eq!(handle(&mut client, Input::Message(message)), outputs);
        }
        let mut client = open();
        ask(&mut client, "live/x", 0);
        handle(&mut client, Input::Message(accepted(&["up"])));
        let twice = handle(&mut client, Input::Message(accepted(&["up"])));
        assert_eq!(twice, ["Close(Protocol)"]);
    }

    #[test]
    fn so_many_announcements_are_kept() {
        let mut client = open();
        for number in 0..MAX_ANNOUNCED + 10 {
            let stream = format!("live/{number}");
            let announce = Message::Announce {
                stream,
                epoch: 1,
                hops: vec![],
                active: true,
            };
            handle(&mut client, Input::Message(announce));
        }
        assert_eq!(client.announced().len(), MAX_ANNOUNCED);
    }
}

mod schedule {
    use super::*;

    fn begin(track: &track::Producer, number: u64) {
        let header = Header {
            epoch: 1,
            number,
            wallclock_us: 0,
            first_msn: 0,
            first_part: 1,
            discontinuities: 0,
            segment_max: Timestamp::from_millis(6_000),
            part_target: Timestamp::from_millis(400),
            config_id: 0,
            discontinuity: false,
            catalog: Arc::default(),
        };
        let mut group = track.open_group(header).unwrap();
        let frame = Frame {
            track: TrackId::VIDEO,
            kind: Kind::Key,
            dts: Timestamp::ZERO,
            cts: Timestamp::ZERO,
            duration: None,
            payload: Bytes::new(),
        };
        group.push(frame).unwrap();
    }

    fn due(sending: &mut Sending, track: &track::Consumer) -> Vec<u64> {
        sending
            .due(track)
            .iter()
            .map(|group| group.key().number)
            .collect()
    }

    #[test]
    fn each_group_is_sent_once_newest_first_and_none_that_would_be_late() {
        let (producer, track) = track::new(&Cache::new(1 << 20), None).unwrap();
        let key = |number| Key { epoch: 1, number };
        (1..=6).for_each(|number| begin(&producer, number));
        let mut latest = Sending::new(None);
        let mut after = Sending::new(Some(key(4)));
        let mut all = Sending::new(Some(Key::default()));
        assert_eq!(due(&mut latest, &track), [6]);
        assert_eq!(due(&mut after, &track), [6, 5]);
        assert_eq!(due(&mut all, &track), [6, 5, 4, 3]);
        begin(&producer, 9);
        assert_eq!(due(&mut latest, &track), [9]);
        begin(&producer, 8);
        assert_eq!(due(&mut latest, &track), [8], "out of order");
        assert!(due(&mut latest, &track).is_empty());
        assert_eq!(latest.last(), Some(key(9)));
        for number in 10..60 {
            begin(&producer, number);
            assert_eq!(due(&mut latest, &track), [number]);
        }
    }

    #[test]
    fn a_group_is_late_behind_too_many_or_for_too_long() {
        let start = Instant::now();
        let mut standing = Standing::default();
        let mut judge = |ms: u64, newer| standing.judge(start + Duration::from_millis(ms), newer);
        let send = |priority, late: Option<u64>| Verdict::Send {
            priority,
            late: late.map(|ms| start + Duration::from_millis(ms) + LATE_AFTER),
        };
        assert_eq!(judge(0, 0), send(0, None));
        assert_eq!(
            judge(60_000, 0),
            send(0, None),
            "the newest has all the time"
        );
        assert_eq!(judge(61_000, 1), send(-1, Some(61_000)));
        assert_eq!(judge(62_000, 3), send(-3, Some(61_000)));
        assert_eq!(judge(63_000, 1), Verdict::Late);
        assert_eq!(Standing::default().judge(start, LATE_GROUPS), Verdict::Late);
    }
}
