//! The scheduler as a name server, asked by hand-made queries as resolvers send them.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    time::Duration,
};

use crate::harness::{Cluster, EDGES, clips, eventually, ffmpeg, port, weir_says};

const STREAM: &str = "live/show";
const NAME: &str = "live--show.live.example.com";

const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;

/// What a test looks at of an answer.
#[derive(Debug, PartialEq)]
struct Said {
    code: u8,
    truncated: bool,
    addresses: Vec<Ipv4Addr>,
    ttl_s: Vec<u32>,
    /// Kind of the first record behind the answers, and its time to live.
    authority: Option<(u16, u32)>,
    /// Of the client subnet option.
    scope: Option<u8>,
}

/// A query with an EDNS client subnet of 24 bits, when one is given (RFC 1035, 6891, 7871).
fn query(name: &str, kind: u16, subnet: Option<[u8; 3]>) -> Vec<u8> {
    let mut bytes = vec![
        0x12,
        0x34,
        1,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(subnet.is_some()),
    ];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
    if let Some([a, b, c]) = subnet {
        bytes.extend([
            0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, a, b, c,
        ]);
    }
    bytes
}

fn read(bytes: &[u8]) -> Said {
    let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    assert_eq!(u16_at(0), 0x1234);
    assert!(bytes[2] & 0x84 != 0, "an authoritative answer");
    let name_end = |mut at: usize| loop {
        match bytes[at] {
            0 => break at + 1,
            length if length >= 0xc0 => break at + 2,
            length => at += usize::from(length) + 1,
        }
    };
    let mut said = Said {
        code: bytes[3] & 15,
        truncated: bytes[2] & 2 != 0,
        addresses: Vec::new(),
        ttl_s: Vec::new(),
        authority: None,
        scope: None,
    };
    let mut at = name_end(12) + 4;
    let (answers, others) = (u16_at(6), u16_at(8) + u16_at(10));
    for nth in 0..answers + others {
        let head = name_end(at);
        let (kind, length) = (u16_at(head), usize::from(u16_at(head + 8)));
        let ttl_s = u32::from_be_bytes(bytes[head + 4..head + 8].try_into().unwrap());
        let data = &bytes[head + 10..head + 10 + length];
        match kind {
            A if nth < answers => {
                said.addresses
                    .push(<[u8; 4]>::try_from(data).unwrap().into());
                said.ttl_s.push(ttl_s);
            }
            41 if length >= 8 => said.scope = Some(data[7]),
            41 => {}
            _ if nth >= answers => said.authority = Some((kind, ttl_s)),
            _ => {}
        }
        at = head + 10 + length;
    }
    said
}

fn ask(server: &str, bytes: &[u8]) -> Said {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket.send_to(bytes, server).unwrap();
    let mut answer = [0; 2_048];
    let length = socket.recv(&mut answer).unwrap();
    read(&answer[..length])
}

fn ask_by_tcp(server: &str, queries: &[Vec<u8>]) -> Vec<Said> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut answers = Vec::new();
    for query in queries {
        let length = (query.len() as u16).to_be_bytes();
        stream.write_all(&[&length[..], query].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        answers.push(read(&answer));
    }
    answers
}

/// The same node again with another file.
fn change(cluster: &mut Cluster, name: &str, change: impl Fn(String) -> String) {
    let config = cluster.node(name).config.clone();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, change(text)).unwrap();
    cluster.kill(name);
    cluster.restart(name);
}

/// The network that a viewer of one of [`EDGES`] is in.
fn network(nth: usize) -> Option<[u8; 3]> {
    let address: Ipv4Addr = EDGES[nth].3.parse().unwrap();
    let [a, b, c, _] = address.octets();
    Some([a, b, c])
}

/// Where the edges say that they are: each at an address of its own, the last one by a name.
const SITES: [(&str, Ipv4Addr); 3] = [
    ("//127.0.0.2:", Ipv4Addr::new(127, 0, 0, 2)),
    ("//127.0.0.3:", Ipv4Addr::new(127, 0, 0, 3)),
    ("//localhost:", Ipv4Addr::LOCALHOST),
];

/// A cluster with a name server, and the address of that.
fn serving() -> (Cluster, String) {
    let mut cluster = Cluster::start(3);
    let server = format!("127.0.0.1:{}", port());
    for ((edge, ..), (site, _)) in EDGES.iter().zip(SITES) {
        change(&mut cluster, edge, |text| {
            text.replace(
                "public_url = \"http://127.0.0.1:",
                &format!("public_url = \"http:{site}"),
            )
        });
    }
    change(&mut cluster, "scheduler", |text| {
        format!(
            "{text}[scheduler.dns]\nlisten = \"{server}\"\nzone = \"live.example.com\"\n\
             ns = [\"ns1.example.com\"]\nrate = 50\n"
        )
    });
    (cluster, server)
}

/// Asks for more than the rate: the rest is told to use TCP or nothing.
fn flood(server: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_secs(5));
    socket.set_read_timeout(patience).unwrap();
    for _ in 0..300 {
        socket.send_to(&query(NAME, A, None), server).unwrap();
    }
    let mut truncated = false;
    let mut answer = [0; 2_048];
    while !truncated {
        let length = socket.recv(&mut answer).unwrap();
        truncated = answer[..length][2] & 2 != 0;
    }
}

#[test]
fn resolvers_get_the_edges_near_their_clients() {
    let (mut cluster, server) = serving();
    let _publisher = ffmpeg::publish(&clips::h264(), &cluster.publish_url(STREAM), &[]);
    cluster.wait_on_air(STREAM);

    let edges = SITES.map(|(_, address)| address);
    let first = |nth| ask(&server, &query(NAME, A, network(nth)));
    for (nth, address) in edges.into_iter().enumerate() {
        eventually("its own edge is the first", || {
            first(nth).addresses.first() == Some(&address)
        });
        let said = first(nth);
        assert_eq!((said.code, said.scope), (0, Some(24)), "{said:?}");
        assert!((1..=3).contains(&said.addresses.len()), "{said:?}");
        let mut ttls_s = said.ttl_s.iter();
        assert!(ttls_s.all(|ttl_s| (16..=24).contains(ttl_s)), "{said:?}");
    }

    // Names that are there without such a record, and names that are not there.
    for (name, kind, code) in [(NAME, TXT, 0), ("live--gone.live.example.com", A, 3)] {
        let said = ask(&server, &query(name, kind, None));
        assert_eq!((said.code, said.addresses.len()), (code, 0), "{name}");
        assert_eq!(said.authority, Some((SOA, 5)), "{name}");
    }
    assert_eq!(ask(&server, &query("example.com", A, None)).code, 5);

    let apex = query("live.example.com", A, network(1));
    let queries = [query(NAME, A, network(0)), apex];
    let said = ask_by_tcp(&server, &queries);
    let firsts: Vec<_> = said.iter().map(|said| said.addresses[0]).collect();
    assert_eq!(firsts, edges[..2]);

    let admin = format!("http://{}", cluster.scheduler_admin);
    weir_says(&["drain", EDGES[0].0, "--admin", &admin]);
    assert!(
        !first(0).addresses.contains(&edges[0]),
        "a drained edge is not given out"
    );
    cluster.kill(EDGES[1].0);
    eventually("a dead one neither", || {
        !first(1).addresses.contains(&edges[1])
    });

    flood(&server);
    assert_eq!(ask_by_tcp(&server, &queries[..1])[0].code, 0);
    let scheduler = cluster.node("scheduler");
    let metric = "weir_scheduler_dns_queries_total";
    assert!(scheduler.metric(metric, "outcome=\"limited\"") >= 1.0);
    assert!(scheduler.metric(metric, "outcome=\"no_name\"") >= 1.0);
}
