//! Queries to answers, as resolvers and others send them.

use hickory_proto::op::Message;
use proptest::prelude::*;

use super::*;

const ZONE: &str = "listen = \"127.0.0.1:0\"\nzone = \"live.example.com\"\n\
                    ns = [\"ns1.example.com\", \"ns2.example.com\"]\n";

fn zone() -> Zone {
    Zone::new(&toml::from_str(ZONE).unwrap(), 7).unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 99;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_subnet(mut message: Message, network: &str, source: u8, scope: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(1_232);
    let subnet = ClientSubnet::new(network.parse().unwrap(), source, scope);
    edns.options_mut().insert(EdnsOption::Subnet(subnet));
    message.set_edns(edns);
    message
}

/// Of `live/show` and of any stream: one edge by the network and two more; `live/full` has none.
fn edges(wish: &Wish) -> Option<Vec<IpAddr>> {
    let near = match wish.network {
        IpAddr::V4(v4) => v4.octets()[2],
        IpAddr::V6(v6) => v6.octets()[5],
    };
    let all = [
        IpAddr::from([10, 0, 0, near]),
        "2001:db8::1".parse().unwrap(),
        IpAddr::from([10, 0, 1, 1]),
        IpAddr::from([10, 0, 1, 2]),
        IpAddr::from([10, 0, 1, 3]),
    ];
    match wish.stream.as_ref().map(|key| key.as_str()) {
        None | Some("live/show") => Some(all.to_vec()),
        Some("live/full") => Some(Vec::new()),
        Some(_) => None,
    }
}

fn ask(message: &Message, over: Over) -> (Message, &'static str) {
    let from = From {
        peer: IpAddr::from([192, 0, 2, 77]),
        over,
        random: 0,
    };
    let answer = zone()
        .answer(&message.to_vec().unwrap(), &from, &edges)
        .unwrap();
    (Message::from_vec(&answer.bytes).unwrap(), answer.outcome)
}

fn addresses(message: &Message) -> Vec<String> {
    let records = message.answers.iter();
    records.map(|record| record.data.to_string()).collect()
}

/// Asks for a name, and checks how the answer stands beside its addresses.
fn expect(name: &str, kind: RecordType, (code, outcome): (ResponseCode, &str), expected: &str) {
    let (answer, said) = ask(&query(name, kind), Over::Udp);
    let meta = answer.metadata;
    assert_eq!((meta.response_code, said), (code, outcome), "{name} {kind}");
    assert_eq!(addresses(&answer).join(" "), expected, "{name} {kind}");
    let negative = usize::from(matches!(outcome, "no_data" | "no_name"));
    assert_eq!(answer.authorities.len(), negative, "{name} {kind}");
    assert!(answer.authorities.iter().all(|soa| soa.ttl == 5));
    assert_eq!((meta.id, meta.recursion_desired), (99, true));
    assert_eq!(meta.authoritative, code != ResponseCode::Refused, "{name}");
    assert!(!meta.recursion_available && meta.message_type == MessageType::Response);
    assert_eq!(answer.queries[0].name.to_ascii(), name, "as it was written");
    let apex = matches!(kind, RecordType::NS | RecordType::SOA);
    let same = |it: &Record| it.ttl == 16 && it.name.to_ascii() == name;
    assert!(answer.answers.iter().all(|it| apex || same(it)), "{name}");
    assert!(answer.edns.is_none(), "no EDNS unless it was used");
}

#[test]
fn names_are_answered_as_they_stand() {
    use RecordType::{A, AAAA, ANY, CAA, HTTPS, NS, SOA, TXT};
    let soa = "ns1.example.com. hostmaster.live.example.com. 7 3600 600 86400 5";
    let (a, show) = ("10.0.0.2 10.0.1.1 10.0.1.2", "live--show.live.example.com.");
    for (name, kind, expected) in [
        ("live.example.com.", A, a),
        (show, A, a),
        ("LIVE--Show.lIVE.example.com.", A, a),
        (show, AAAA, "2001:db8::1"),
        (show, ANY, a),
        ("live.example.com.", NS, "ns1.example.com. ns2.example.com."),
        ("live.example.com.", SOA, soa),
    ] {
        expect(name, kind, (ResponseCode::NoError, "answered"), expected);
    }
    for (name, kind) in [
        (show, TXT),
        (show, RecordType::Unknown(65_280)),
        (show, HTTPS),
        (show, NS),
        ("live.example.com.", CAA),
        ("live--full.live.example.com.", TXT),
    ] {
        expect(name, kind, (ResponseCode::NoError, "no_data"), "");
    }
}

#[test]
fn names_that_are_not_there_or_not_ours_are_told_apart() {
    for name in ["live--gone", "show", "a.live--show", "*"] {
        let name = format!("{name}.live.example.com.");
        expect(
            &name,
            RecordType::A,
            (ResponseCode::NXDomain, "no_name"),
            "",
        );
    }
    let full = "live--full.live.example.com.";
    expect(full, RecordType::A, (ResponseCode::ServFail, "no_edge"), "");
    for (name, kind) in [
        ("example.com.", RecordType::A),
        ("xlive.example.com.", RecordType::A),
        ("live.example.com.", RecordType::AXFR),
    ] {
        expect(name, kind, (ResponseCode::Refused, "refused"), "");
    }
    for class in [DNSClass::CH, DNSClass::ANY, DNSClass::Unknown(999)] {
        let mut message = query("live.example.com.", RecordType::A);
        message.queries[0].query_class = class;
        assert_eq!(ask(&message, Over::Udp).1, "refused", "{class}");
    }
}

#[test]
fn the_network_that_is_asked_for_decides_and_is_told() {
    for (network, source, first, scope) in [
        ("203.0.113.0", 24, "10.0.0.113", 24),
        ("203.0.113.9", 32, "10.0.0.113", 24),
        ("203.0.0.0", 16, "10.0.0.0", 16),
        ("2001:db8:1::", 48, "10.0.0.1", 48),
        ("2001:db8:1:200::", 56, "10.0.0.1", 48),
        // Not to be told apart: as the resolver.
        ("0.0.0.0", 0, "10.0.0.2", 0),
    ] {
        let message = with_subnet(
            query("live.example.com.", RecordType::A),
            network,
            source,
            0,
        );
        let (answer, _) = ask(&message, Over::Udp);
        assert_eq!(addresses(&answer)[0], first, "{network}/{source}");
        let edns = answer.edns.unwrap();
        let Some(EdnsOption::Subnet(told)) = edns.option(EdnsCode::Subnet) else {
            panic!("{network} is not told");
        };
        assert_eq!(told.addr().to_string(), network);
        assert_eq!((told.source_prefix(), told.scope_prefix()), (source, scope));
    }
}

#[test]
fn what_is_malformed_is_said_to_be() {
    let base = || query("live.example.com.", RecordType::A);
    for (network, source, scope) in [("203.0.113.0", 20, 0), ("203.0.113.0", 24, 24)] {
        let (answer, said) = ask(&with_subnet(base(), network, source, scope), Over::Udp);
        let code = answer.metadata.response_code;
        assert_eq!(
            (code, said),
            (ResponseCode::FormErr, "malformed"),
            "{network}"
        );
    }
    let mut two = base();
    two.add_query(Query::query(Name::from_ascii("a.").unwrap(), RecordType::A));
    assert_eq!(ask(&two, Over::Udp).1, "malformed");
    let mut notify = base();
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(ask(&notify, Over::Udp).1, "not_implemented");
    let mut newer = with_subnet(base(), "203.0.113.0", 24, 0);
    newer.edns.as_mut().unwrap().set_version(1);
    let (answer, said) = ask(&newer, Over::Udp);
    assert_eq!(
        (answer.edns.unwrap().rcode_high(), said),
        (1, "bad_version")
    );

    let from = From {
        peer: IpAddr::from([192, 0, 2, 77]),
        over: Over::Udp,
        random: 0,
    };
    let answer = |bytes: &[u8]| zone().answer(bytes, &from, &edges);
    let mut bytes = base().to_vec().unwrap();
    let cut = answer(&bytes[..bytes.len() - 1]).unwrap();
    let message = Message::from_vec(&cut.bytes).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(message.metadata.id, 99);
    assert!(
        answer(&bytes[..11]).is_none(),
        "without a header there is no answer"
    );
    bytes[2] |= 0x80;
    assert!(answer(&bytes).is_none(), "an answer is not answered");
    let last = bytes.len() - 1;
    assert!(answer(&bytes[..last]).is_none(), "nor a broken one");
}

/// A query for the zone by hand, with what stands behind the question.
fn by_hand(flags: u8, questions: u16, extra: &[&[u8]]) -> Vec<u8> {
    let count = extra.len() as u8;
    let mut bytes = vec![0, 99, flags, 0, 0, 0, 0, 0, 0, 0, 0, count];
    bytes[4..6].copy_from_slice(&questions.to_be_bytes());
    for label in ["lIVe", "eXample", "com"] {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes.extend(extra.concat());
    bytes
}

/// An OPT record with one option.
fn opt(code: u8, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u8;
    let head = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0];
    [&head[..], &[0, length + 4, 0, code, 0, length], data].concat()
}

const NO_ERROR: u8 = 0;
const FORMAT: u8 = 1;
const NOT_IMPLEMENTED: u8 = 4;

fn messages_by_hand() -> Vec<(&'static str, Vec<u8>, u8)> {
    let plain = |flags, questions| by_hand(flags, questions, &[]);
    let with = |data: &[u8]| by_hand(1, 1, &[&opt(8, data)]);
    let unknown = opt(99, b"x");
    vec![
        ("a query", plain(1, 1), NO_ERROR),
        ("no question", plain(1, 0), FORMAT),
        ("more questions than there are", plain(1, u16::MAX), FORMAT),
        ("an inverse query", plain(1 << 3, 1), NOT_IMPLEMENTED),
        ("a status", plain((2 << 3) | 1, 0), NOT_IMPLEMENTED),
        ("an unknown opcode", plain(3 << 3, 1), NOT_IMPLEMENTED),
        ("an update", plain(5 << 3, 1), NOT_IMPLEMENTED),
        ("half an update", plain(5 << 3, 9), NOT_IMPLEMENTED),
        ("an IPv4 net", with(&[0, 1, 24, 0, 203, 0, 113]), NO_ERROR),
        ("an IPv6 net", with(&[0, 2, 20, 0, 32, 1, 0x10]), NO_ERROR),
        ("an unknown option", by_hand(1, 1, &[&unknown]), NO_ERROR),
        ("two OPT", by_hand(1, 1, &[&unknown, &unknown]), FORMAT),
        ("family 3", with(&[0, 3, 24, 0, 203, 0, 113]), FORMAT),
        ("too few bytes", with(&[0, 1, 24, 0, 203, 0]), FORMAT),
        (
            "too many bytes",
            with(&[0, 1, 24, 0, 203, 0, 113, 0]),
            FORMAT,
        ),
        (
            "a long prefix",
            with(&[0, 1, 33, 0, 203, 0, 113, 0, 0]),
            FORMAT,
        ),
        ("bits behind it", with(&[0, 1, 20, 0, 203, 0, 113]), FORMAT),
        ("a scope", with(&[0, 1, 24, 24, 203, 0, 113]), FORMAT),
    ]
}

#[test]
fn messages_by_hand_get_the_answer_that_is_due() {
    let from = From {
        peer: IpAddr::from([192, 0, 2, 77]),
        over: Over::Udp,
        random: 0,
    };
    for (name, bytes, code) in messages_by_hand() {
        let answer = zone().answer(&bytes, &from, &edges).unwrap().bytes;
        assert_eq!(answer[..2], [0, 99], "{name}");
        // The same opcode, and whether recursion was wished for; it is an answer.
        let (asked, said) = (bytes[2] & 0x79, answer[2] & 0xf9);
        assert_eq!(said, asked | 0x80, "{name}");
        assert_eq!(answer[3] & 15, code, "{name}");
        let question = 12..34;
        let as_asked = answer.get(question.clone()) == bytes.get(question);
        assert!(
            code != NO_ERROR || as_asked,
            "{name}: the case that was asked"
        );
        let mut reply = bytes.clone();
        reply[2] |= 0x80;
        assert!(zone().answer(&reply, &from, &edges).is_none(), "{name}");
        assert!(truncated(&reply).is_none(), "{name}");
    }
}

#[test]
fn who_asks_too_often_is_told_to_use_tcp_in_few_bytes() {
    for (name, bytes, code) in messages_by_hand() {
        let Some(short) = truncated(&bytes) else {
            assert_ne!(code, NO_ERROR, "{name}");
            continue;
        };
        assert!(short.len() <= bytes.len(), "{name}");
        assert!(short[2] & 2 != 0 && short[7] == 0, "{name}: truncated");
        assert_eq!(short[11], bytes[11], "{name}: EDNS for EDNS");
    }
}

#[test]
fn what_does_not_fit_is_asked_for_again() {
    let long = "a".repeat(61);
    let text = format!(
        "listen = \"127.0.0.1:0\"\nzone = \"{long}.{long}.{long}.example\"\nns = [{}]\n",
        (0..8)
            .map(|n| format!("\"{long}.{long}.{long}.n{n}\""))
            .collect::<Vec<_>>()
            .join(",")
    );
    let zone = Zone::new(&toml::from_str(&text).unwrap(), 7).unwrap();
    let name = format!("{long}.{long}.{long}.example.");
    let ask = |message: &Message, over| {
        let from = From {
            peer: IpAddr::from([192, 0, 2, 77]),
            over,
            random: 0,
        };
        let answer = zone
            .answer(&message.to_vec().unwrap(), &from, &edges)
            .unwrap();
        (answer.bytes.len(), answer.outcome)
    };
    let plain = query(&name, RecordType::NS);
    let (length, outcome) = ask(&plain, Over::Udp);
    assert!(length <= 512 && outcome == "truncated", "{length}");
    let wide = with_subnet(plain.clone(), "203.0.113.0", 24, 0);
    let (length, outcome) = ask(&wide, Over::Udp);
    assert!(length <= 1_232, "{length} {outcome}");
    assert_eq!(ask(&plain, Over::Tcp).1, "answered");

    let bytes = truncated(&plain.to_vec().unwrap()).unwrap();
    let short = Message::from_vec(&bytes).unwrap();
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(short.queries, plain.queries);
}

#[test]
fn times_to_live_are_spread_by_a_fifth() {
    let all: Vec<u32> = (0..1_000).map(|random| spread(20, random)).collect();
    assert_eq!((all.iter().min(), all.iter().max()), (Some(&16), Some(&24)));
    assert_eq!(spread(1, 5), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let from = From { peer: IpAddr::from([192, 0, 2, 77]), over: Over::Udp, random: 3 };
        if let Some(answer) = zone().answer(&bytes, &from, &edges) {
            prop_assert!(answer.bytes.len() <= 1_232);
            prop_assert_eq!(&answer.bytes[..2], &bytes[..2]);
        }
        let _ = truncated(&bytes);
    }

    #[test]
    fn any_bent_query_is_answered_or_not(at in 0usize..60, byte: u8) {
        let message = query("live--show.live.example.com.", RecordType::A);
        let mut bytes = with_subnet(message, "203.0.113.0", 24, 0).to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let from = From { peer: IpAddr::from([192, 0, 2, 77]), over: Over::Udp, random: 3 };
        if let Some(answer) = zone().answer(&bytes, &from, &edges) {
            prop_assert!(answer.bytes.len() <= 1_232);
        }
    }
}
