//! Sans-IO: the scheduler as the name server of its zone: queries in, the best edges' addresses out.
//!
//! The zone's own name stands for the best edges, `APP--STREAM` under it for the best ones of that
//! stream. Answers are for the network that the query names (EDNS client subnet, RFC 7871), else
//! for the resolver's own, and say so in their scope. What is asked and said is RFC 1035, 2308
//! (negative answers), 6891 (EDNS) and 8482 (`ANY`). Nothing here can be transferred or changed.
//! Which edges are best is [`directory`]'s, sockets are [`service`]'s, the rate of answers is
//! [`limit`]'s. An answer is no viewer yet and is counted as none.

pub mod config;
pub mod directory;
pub mod limit;
pub mod service;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::stream::StreamKey;
use hickory_proto::op::{
    Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

pub use config::Config;

/// The zone that is answered for.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    name: Name,
    servers: Vec<Name>,
    soa: SOA,
    ttl_s: u32,
}

/// How a query came.
#[derive(Clone, Copy, Debug)]
pub struct From {
    /// Who sent it.
    pub peer: IpAddr,
    /// Whether by TCP, where an answer of any length fits.
    pub over: Over,
    /// Spreads times to live.
    pub random: u64,
}

/// What carried a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// UDP: short, and from an address that anybody may have written.
    Udp,
    /// TCP.
    Tcp,
}

impl Over {
    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Whom an answer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The first address of the network.
    pub network: IpAddr,
    /// What is to be watched; any stream when it is None.
    pub stream: Option<StreamKey>,
}

/// An answer, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message.
    pub bytes: Vec<u8>,
    /// The word for it in metrics.
    pub outcome: &'static str,
}

/// What a message is answered with, before it is one.
struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    outcome: &'static str,
}

impl Zone {
    /// The zone of settings that were checked; `serial` tells its versions apart.
    pub fn new(config: &Config, serial: u32) -> anyhow::Result<Self> {
        let names = config.names()?;
        let first = names.servers.first().cloned().unwrap_or_default();
        Ok(Self {
            soa: SOA::new(
                first,
                names.mail,
                serial,
                3_600,
                600,
                86_400,
                NEGATIVE_TTL_S,
            ),
            name: names.zone,
            servers: names.servers,
            ttl_s: u32::try_from(config.ttl.get().as_secs()).unwrap_or(u32::MAX),
        })
    }

    /// The answer to a message; None when it deserves none. `edges` gives the addresses of the
    /// best edges, best first, or None when the stream is not on air.
    pub fn answer(
        &self,
        bytes: &[u8],
        from: &From,
        edges: &dyn Fn(&Wish) -> Option<Vec<IpAddr>>,
    ) -> Option<Answer> {
        let message = match readable(bytes)? {
            Ok(message) => message,
            Err(answer) => return Some(answer),
        };
        let (reply, subnet) = match self.checked(&message, bytes) {
            Err((code, outcome)) => (Reply::error(code, outcome), None),
            Ok((query, subnet)) => {
                let (network, scope) = network(subnet.as_ref(), from.peer);
                let reply = self.reply(query, network, from.random, edges);
                let told = subnet.map(|it| ClientSubnet::new(it.addr(), it.source_prefix(), scope));
                (reply, told)
            }
        };
        encode(
            response(&message, reply.code, subnet),
            reply,
            room(&message, from.over),
        )
    }

    /// The one question, when it is one that is answered, with the network that it is for.
    fn checked<'a>(
        &self,
        message: &'a Message,
        bytes: &[u8],
    ) -> Result<(&'a Query, Option<ClientSubnet>), (ResponseCode, &'static str)> {
        let [query] = &message.queries[..] else {
            return Err((ResponseCode::FormErr, "malformed"));
        };
        if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Err((ResponseCode::BADVERS, "bad_version"));
        }
        let option = message.edns.as_ref();
        let option = option.and_then(|edns| edns.option(EdnsCode::Subnet));
        let subnet = match option {
            Some(EdnsOption::Subnet(subnet)) if is_sound(subnet, bytes) => Some(*subnet),
            Some(_) => return Err((ResponseCode::FormErr, "malformed")),
            None => None,
        };
        let transfer = matches!(query.query_type, RecordType::AXFR | RecordType::IXFR);
        let ours = query.query_class == DNSClass::IN && self.name.zone_of(&query.name);
        if transfer || !ours {
            return Err((ResponseCode::Refused, "refused"));
        }
        Ok((query, subnet))
    }

    fn reply(
        &self,
        query: &Query,
        network: IpAddr,
        random: u64,
        edges: &dyn Fn(&Wish) -> Option<Vec<IpAddr>>,
    ) -> Reply {
        let Some(stream) = self.asked(&query.name) else {
            return self.absent(ResponseCode::NXDomain, "no_name");
        };
        let apex = stream.is_none();
        let Some(addresses) = edges(&Wish { network, stream }) else {
            return self.absent(ResponseCode::NXDomain, "no_name");
        };
        let ttl_s = spread(self.ttl_s, random);
        let record = |data: RData| Record::from_rdata(query.name.clone(), ttl_s, data);
        let of = |kind: RecordType| {
            let address = |address: &IpAddr| match (address, kind) {
                (IpAddr::V4(v4), RecordType::A) => Some(record(RData::A(A(*v4)))),
                (IpAddr::V6(v6), RecordType::AAAA) => Some(record(RData::AAAA(AAAA(*v6)))),
                _ => None,
            };
            addresses
                .iter()
                .filter_map(address)
                .take(EDGES)
                .collect::<Vec<_>>()
        };
        let steady = |data: RData| Record::from_rdata(self.name.clone(), STEADY_TTL_S, data);
        let answers = match query.query_type {
            RecordType::A | RecordType::AAAA if addresses.is_empty() => {
                return Reply::error(ResponseCode::ServFail, "no_edge");
            }
            RecordType::A => of(RecordType::A),
            RecordType::AAAA => of(RecordType::AAAA),
            // RFC 8482, section 4.1: some of what there is.
            RecordType::ANY => [of(RecordType::A), of(RecordType::AAAA)]
                .into_iter()
                .find(|it| !it.is_empty())
                .unwrap_or_default(),
            RecordType::SOA if apex => vec![steady(RData::SOA(self.soa.clone()))],
            RecordType::NS if apex => {
                let servers = self.servers.iter().cloned();
                servers.map(|name| steady(RData::NS(NS(name)))).collect()
            }
            _ => Vec::new(),
        };
        if answers.is_empty() {
            return self.absent(ResponseCode::NoError, "no_data");
        }
        Reply {
            code: ResponseCode::NoError,
            answers,
            authorities: Vec::new(),
            outcome: "answered",
        }
    }

    /// What a name of the zone stands for: the zone itself, or a stream.
    fn asked(&self, name: &Name) -> Option<Option<StreamKey>> {
        let mut labels = name.iter();
        match name.iter().count().checked_sub(self.name.iter().count())? {
            0 => Some(None),
            1 => {
                let label = std::str::from_utf8(labels.next()?).ok()?;
                let label = label.to_ascii_lowercase();
                let (app, stream) = label.split_once(JOINT)?;
                StreamKey::parse(&format!("{app}/{stream}")).ok().map(Some)
            }
            _ => None,
        }
    }

    /// A negative answer, kept as long as the start of authority says (RFC 2308, section 5).
    fn absent(&self, code: ResponseCode, outcome: &'static str) -> Reply {
        let soa = RData::SOA(self.soa.clone());
        Reply {
            code,
            answers: Vec::new(),
            authorities: vec![Record::from_rdata(self.name.clone(), NEGATIVE_TTL_S, soa)],
            outcome,
        }
    }
}

impl Reply {
    fn error(code: ResponseCode, outcome: &'static str) -> Self {
        Self {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            outcome,
        }
    }
}

/// A query, or the answer to what cannot be read as one; None when it deserves none. Its head is
/// looked at first: what claims to hold more than one question is not read at all.
fn readable(bytes: &[u8]) -> Option<Result<Message, Answer>> {
    let head = Header::read(&mut BinDecoder::new(bytes)).ok()?;
    // An answer to an answer would go back and forth.
    if head.metadata.message_type != MessageType::Query {
        return None;
    }
    let (code, outcome) = if head.metadata.op_code != OpCode::Query {
        (ResponseCode::NotImp, "not_implemented")
    } else {
        // RFC 9619, section 4: one question.
        let message = (head.counts.queries == 1).then(|| Message::from_vec(bytes));
        match message {
            Some(Ok(message)) => return Some(Ok(message)),
            _ => (ResponseCode::FormErr, "malformed"),
        }
    };
    let mut message = Message::response(head.metadata.id, head.metadata.op_code);
    message.metadata = Metadata::response_from_request(&head.metadata);
    message.metadata.response_code = code;
    let bytes = message.to_vec().ok()?;
    Some(Err(Answer { bytes, outcome }))
}

/// An answer without records: with EDNS if the query has it (RFC 6891, section 6.1.1).
fn response(asked: &Message, code: ResponseCode, subnet: Option<ClientSubnet>) -> Message {
    let mut message = Message::response(asked.metadata.id, asked.metadata.op_code);
    message.metadata = Metadata::response_from_request(&asked.metadata);
    message.metadata.response_code = code;
    message.metadata.authoritative = !matches!(
        code,
        ResponseCode::Refused | ResponseCode::FormErr | ResponseCode::BADVERS
    );
    message.queries = asked.queries.clone();
    if asked.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD_BYTES).set_version(0);
        edns.set_rcode_high(code.high());
        if let Some(subnet) = subnet {
            edns.options_mut().insert(EdnsOption::Subnet(subnet));
        }
        message.set_edns(edns);
    }
    message
}

/// Bytes that an answer may have.
fn room(asked: &Message, over: Over) -> usize {
    match (over, &asked.edns) {
        (Over::Tcp, _) => usize::from(u16::MAX),
        (Over::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_BYTES, PAYLOAD_BYTES).into(),
        (Over::Udp, None) => PLAIN_BYTES.into(),
    }
}

fn encode(mut message: Message, reply: Reply, room: usize) -> Option<Answer> {
    message.answers = reply.answers;
    message.authorities = reply.authorities;
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= room {
        let outcome = reply.outcome;
        return Some(Answer { bytes, outcome });
    }
    let bytes = message.truncate().to_vec().ok()?;
    let outcome = "truncated";
    Some(Answer { bytes, outcome })
}

/// The answer that makes a resolver ask again by TCP, for one that asks too often by UDP; no longer
/// than the query by more than EDNS takes.
pub fn truncated(bytes: &[u8]) -> Option<Vec<u8>> {
    let message = readable(bytes)?.ok()?;
    let short = response(&message, ResponseCode::NoError, None).truncate();
    short.to_vec().ok()
}

/// Whether an option is one that a query may have: no scope, no bits behind the network's, and in
/// the message `bytes` no byte more than these need (RFC 7871, sections 6 and 7.1.2).
fn is_sound(subnet: &ClientSubnet, bytes: &[u8]) -> bool {
    let longest = if subnet.addr().is_ipv4() { 32 } else { 128 };
    let address = || match subnet.addr() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let is_there = || {
        let (family, octets) = address();
        let length = usize::from(subnet.source_prefix()).div_ceil(8);
        let head = [
            0,
            8,
            0,
            4 + length as u8,
            0,
            family,
            subnet.source_prefix(),
            0,
        ];
        let option = [&head[..], &octets[..length]].concat();
        bytes.windows(option.len()).any(|window| window == option)
    };
    subnet.scope_prefix() == 0
        && subnet.source_prefix() <= longest
        && masked(subnet.addr(), subnet.source_prefix()) == subnet.addr()
        && is_there()
}

/// The network that an answer is for, and how much of the one asked for it holds for: places are
/// known by networks no smaller than these. One that does not want to be told apart (a prefix of
/// 0) is answered like its resolver.
fn network(subnet: Option<&ClientSubnet>, peer: IpAddr) -> (IpAddr, u8) {
    match subnet.filter(|subnet| subnet.source_prefix() > 0) {
        Some(subnet) => {
            let scope = subnet.source_prefix().min(finest(subnet.addr()));
            (masked(subnet.addr(), scope), scope)
        }
        None => (masked(peer, finest(peer)), 0),
    }
}

fn finest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 48 }
}

/// The address without what is behind its first `prefix` bits.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let rest = 32u32.saturating_sub(prefix.into());
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let rest = 128u32.saturating_sub(prefix.into());
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

/// A time to live within 20 % around the given one, so that resolvers do not ask together.
fn spread(ttl_s: u32, random: u64) -> u32 {
    let fifth = ttl_s / 5;
    let width = u64::from(fifth) * 2 + 1;
    ttl_s - fifth + (random % width) as u32
}

/// Between the application and the stream in a label.
const JOINT: &str = "--";

/// Addresses in an answer: players try them in turn, and few try more.
const EDGES: usize = 3;

/// A stream that begins now was perhaps asked for before: whoever knows that it was not there
/// forgets it soon.
const NEGATIVE_TTL_S: u32 = 5;

/// Of what changes with the configuration only.
const STEADY_TTL_S: u32 = 3_600;

/// What passes everywhere without being cut into fragments (DNS flag day 2020).
const PAYLOAD_BYTES: u16 = 1_232;

/// Without EDNS (RFC 1035, section 4.2.1).
const PLAIN_BYTES: u16 = 512;

#[cfg(test)]
mod tests;
