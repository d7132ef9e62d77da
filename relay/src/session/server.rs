//! Sans-IO: the acceptor's side.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::{Announced, HELLO_WITHIN, MAX_ANNOUNCED, MAX_SUBSCRIPTIONS, encoded, extended};
use crate::group::Key;
use crate::wire::{Close, Message, Refusal, Start, VERSIONS};

/// What happens to an acceptor's session.
#[derive(Clone, Debug)]
pub enum Input {
    /// The peer said something.
    Message(Message),
    /// The source has the stream, through these nodes, or refuses it.
    Resolved(u64, Result<Vec<String>, Refusal>),
    /// The subscription's last group was sent or given up, and no other will come.
    Ended(u64, Sent),
    /// What the source has now.
    Announced(Vec<Announced>),
    /// The node is about to stop.
    Drain,
    /// The time that [`Output::Wake`] asked for came.
    Timeout,
}

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write to the control stream.
    Send(Bytes),
    /// Ask the source for a stream.
    Resolve {
        /// The subscription.
        id: u64,
        /// The stream.
        stream: String,
        /// The nodes that will get it.
        hops: Vec<String>,
        /// What they want of it.
        start: Start,
    },
    /// Send the subscription's groups.
    Start(u64, Start),
    /// Send no more of them.
    Stop(u64),
    /// Come back at this time, or never.
    Wake(Option<Instant>),
    /// Close the connection.
    Close(Close),
}

/// What became of a subscription that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The last group of a live one.
    pub last: Option<Key>,
    /// Groups of the past that the peer took or did not want.
    pub groups: u64,
}

/// The acceptor of a connection.
#[derive(Debug)]
pub struct Server {
    node: String,
    state: State,
    peer: String,
    subscriptions: BTreeMap<u64, Subscription>,
    last_id: Option<u64>,
    announced: BTreeMap<String, Announced>,
    draining: bool,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hello,
    Open,
    Closed,
}

#[derive(Debug)]
struct Subscription {
    hops: Vec<String>,
    start: Start,
    accepted: bool,
}

impl Server {
    /// A session as `node`, which waits for the peer's hello.
    pub fn new(node: &str, now: Instant) -> Self {
        Self {
            node: node.to_owned(),
            state: State::Hello,
            peer: String::new(),
            subscriptions: BTreeMap::new(),
            last_id: None,
            announced: BTreeMap::new(),
            draining: false,
            outputs: VecDeque::from([Output::Wake(Some(now + HELLO_WITHIN))]),
        }
    }

    /// The peer's name, empty before its hello.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Takes an input; drain the outputs before the next.
    pub fn handle_input(&mut self, input: Input) {
        if self.state == State::Closed {
            return;
        }
        match input {
            Input::Message(message) => self.message(message),
            Input::Resolved(id, result) => self.resolved(id, result),
            Input::Ended(id, sent) => self.ended(id, sent),
            Input::Announced(announced) => self.announce(announced),
            Input::Drain => self.draining = true,
            Input::Timeout if self.state == State::Hello => self.close(Close::Timeout),
            Input::Timeout => {}
        }
        if self.draining && self.subscriptions.is_empty() {
            self.close(Close::Done);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn message(&mut self, message: Message) {
        match (self.state, message) {
            (State::Hello, Message::Hello { versions, node }) => self.hello(&versions, node),
            (
                State::Open,
                Message::Subscribe {
                    id,
                    stream,
                    hops,
                    start,
                },
            ) => {
                self.subscribe(id, stream, hops, start);
            }
            (State::Open, Message::Unsubscribe { id }) => {
                if self.subscriptions.remove(&id).is_some() {
                    self.outputs.push_back(Output::Stop(id));
                }
            }
            _ => self.close(Close::Protocol),
        }
    }

    fn hello(&mut self, versions: &[u64], node: String) {
        let Some(version) = VERSIONS
            .into_iter()
            .find(|version| versions.contains(version))
        else {
            return self.close(Close::Version);
        };
        self.state = State::Open;
        self.peer = node;
        self.send(&Message::Welcome {
            version,
            node: self.node.clone(),
        });
        self.outputs.push_back(Output::Wake(None));
    }

    fn subscribe(&mut self, id: u64, stream: String, hops: Vec<String>, start: Start) {
        if self.last_id.is_some_and(|last| id <= last) || hops.is_empty() {
            return self.close(Close::Protocol);
        }
        self.last_id = Some(id);
        let refusal = if self.draining {
            Some(Refusal::Draining)
        } else if hops.contains(&self.node) {
            Some(Refusal::Loop)
        } else if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            Some(Refusal::Overloaded)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.send(&Message::Refused { id, refusal });
        }
        let subscription = Subscription {
            hops: hops.clone(),
            start,
            accepted: false,
        };
        self.subscriptions.insert(id, subscription);
        self.outputs.push_back(Output::Resolve {
            id,
            stream,
            hops,
            start,
        });
    }

    fn resolved(&mut self, id: u64, result: Result<Vec<String>, Refusal>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let above = result.and_then(|above| {
            let again = above.iter().any(|hop| subscription.hops.contains(hop));
            let path = extended(&above, &self.node).filter(|_| !again);
            path.ok_or(Refusal::Loop)
        });
        match above {
            Ok(hops) => {
                subscription.accepted = true;
                let start = subscription.start;
                self.send(&Message::Accepted { id, hops });
                self.outputs.push_back(Output::Start(id, start));
            }
            Err(refusal) => {
                self.subscriptions.remove(&id);
                self.send(&Message::Refused { id, refusal });
            }
        }
    }

    fn ended(&mut self, id: u64, Sent { last, groups }: Sent) {
        if self
            .subscriptions
            .get(&id)
            .is_some_and(|subscription| subscription.accepted)
        {
            self.subscriptions.remove(&id);
            self.send(&Message::Ended { id, last, groups });
        }
    }

    /// Tells the peer what changed; a stream that came through the peer itself is none of its
    /// business.
    fn announce(&mut self, announced: Vec<Announced>) {
        if self.state != State::Open {
            return;
        }
        let fresh = announced
            .into_iter()
            .filter(|a| !a.hops.contains(&self.peer));
        let fresh: BTreeMap<String, Announced> = fresh
            .take(MAX_ANNOUNCED)
            .map(|a| (a.stream.clone(), a))
            .collect();
        let before = std::mem::take(&mut self.announced);
        for gone in before.values().filter(|a| !fresh.contains_key(&a.stream)) {
            self.send_announce(gone, false);
        }
        for changed in fresh.values().filter(|a| before.get(&a.stream) != Some(*a)) {
            self.send_announce(changed, true);
        }
        self.announced = fresh;
    }

    fn send_announce(&mut self, announced: &Announced, active: bool) {
        let Announced {
            stream,
            epoch,
            hops,
        } = announced.clone();
        if let Some(hops) = extended(&hops, &self.node) {
            self.send(&Message::Announce {
                stream,
                epoch,
                hops,
                active,
            });
        }
    }

    /// Sends what can be said; a name that the wire does not carry stays unsaid.
    fn send(&mut self, message: &Message) {
        match encoded(message) {
            Ok(bytes) => self.outputs.push_back(Output::Send(bytes)),
            Err(error) => tracing::debug!(%error, ?message, "message not sent"),
        }
    }

    fn close(&mut self, close: Close) {
        self.state = State::Closed;
        self.subscriptions.clear();
        self.outputs.push_back(Output::Close(close));
    }
}
