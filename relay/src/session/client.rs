//! Sans-IO: the dialler's side.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::{Announced, HELLO_WITHIN, MAX_ANNOUNCED, MAX_SUBSCRIPTIONS, encoded, extended};
use crate::group::Key;
use crate::wire::{Close, Message, Refusal, Start, VERSIONS};

/// What happens to a dialler's session.
#[derive(Clone, Debug)]
pub enum Input {
    /// The peer said something.
    Message(Message),
    /// A stream is wanted, under a number that was not used before.
    Subscribe {
        /// The subscription.
        id: u64,
        /// The stream.
        stream: String,
        /// The nodes that will get it from this one.
        hops: Vec<String>,
        /// The first group wanted.
        start: Start,
    },
    /// It is not wanted any more.
    Unsubscribe(u64),
    /// The time that [`Output::Wake`] asked for came.
    Timeout,
}

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write to the control stream.
    Send(Bytes),
    /// The peer of this name said welcome: subscriptions may be asked for.
    Open(String),
    /// Groups will come, through these nodes.
    Accepted(u64, Vec<String>),
    /// No groups will come.
    Refused(u64, Refusal),
    /// No groups will come after this one; so many of the past were taken.
    Ended(u64, Option<Key>, u64),
    /// [`Client::announced`] changed.
    Announced,
    /// Come back at this time, or never.
    Wake(Option<Instant>),
    /// Close the connection.
    Close(Close),
}

/// The dialler of a connection.
#[derive(Debug)]
pub struct Client {
    node: String,
    state: State,
    /// Whether each was accepted.
    subscriptions: BTreeMap<u64, bool>,
    announced: BTreeMap<String, Announced>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Welcome,
    Open,
    Closed,
}

impl Client {
    /// A session as `node`, which says hello.
    pub fn new(node: &str, now: Instant) -> Self {
        let mut client = Self {
            node: node.to_owned(),
            state: State::Welcome,
            subscriptions: BTreeMap::new(),
            announced: BTreeMap::new(),
            outputs: VecDeque::from([Output::Wake(Some(now + HELLO_WITHIN))]),
        };
        let hello = Message::Hello {
            versions: VERSIONS.to_vec(),
            node: node.to_owned(),
        };
        if !client.send(&hello) {
            client.close(Close::Protocol);
        }
        client
    }

    /// Takes an input; drain the outputs before the next.
    pub fn handle_input(&mut self, input: Input) {
        match input {
            _ if self.state == State::Closed => {}
            Input::Message(message) => self.message(message),
            Input::Subscribe {
                id,
                stream,
                hops,
                start,
            } => self.subscribe(id, stream, &hops, start),
            Input::Unsubscribe(id) => self.unsubscribe(id),
            Input::Timeout if self.state == State::Welcome => self.close(Close::Timeout),
            Input::Timeout => {}
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The streams that the peer announced.
    pub fn announced(&self) -> Vec<Announced> {
        self.announced.values().cloned().collect()
    }

    fn subscribe(&mut self, id: u64, stream: String, hops: &[String], start: Start) {
        match self.ask(id, stream, hops, start) {
            Ok(()) => {
                self.subscriptions.insert(id, false);
            }
            Err(refusal) => self.outputs.push_back(Output::Refused(id, refusal)),
        }
    }

    fn ask(
        &mut self,
        id: u64,
        stream: String,
        hops: &[String],
        start: Start,
    ) -> Result<(), Refusal> {
        let hops = extended(hops, &self.node).ok_or(Refusal::Loop)?;
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(Refusal::Overloaded);
        }
        // A name that the wire does not carry is no stream's.
        let sent = self.send(&Message::Subscribe {
            id,
            stream,
            hops,
            start,
        });
        sent.then_some(()).ok_or(Refusal::NotFound)
    }

    fn unsubscribe(&mut self, id: u64) {
        if self.subscriptions.remove(&id).is_some() {
            self.send(&Message::Unsubscribe { id });
        }
    }

    fn message(&mut self, message: Message) {
        match (self.state, message) {
            (State::Welcome, Message::Welcome { version, node }) if VERSIONS.contains(&version) => {
                self.state = State::Open;
                self.outputs
                    .extend([Output::Wake(None), Output::Open(node)]);
            }
            (State::Welcome, Message::Welcome { .. }) => self.close(Close::Version),
            (State::Open, Message::Accepted { id, hops }) => self.accepted(id, hops),
            (State::Open, Message::Refused { id, refusal }) => {
                if self.subscriptions.remove(&id).is_some() {
                    self.outputs.push_back(Output::Refused(id, refusal));
                }
            }
            (State::Open, Message::Ended { id, last, groups }) => {
                if self.subscriptions.remove(&id).is_some() {
                    self.outputs.push_back(Output::Ended(id, last, groups));
                }
            }
            (
                State::Open,
                Message::Announce {
                    stream,
                    epoch,
                    hops,
                    active,
                },
            ) => {
                self.announce(
                    Announced {
                        stream,
                        epoch,
                        hops,
                    },
                    active,
                );
            }
            _ => self.close(Close::Protocol),
        }
    }

    /// An answer to a subscription that was given up meanwhile is no offence.
    fn accepted(&mut self, id: u64, hops: Vec<String>) {
        match self.subscriptions.get_mut(&id) {
            None => {}
            Some(true) => self.close(Close::Protocol),
            Some(_) if hops.contains(&self.node) => {
                self.unsubscribe(id);
                self.outputs.push_back(Output::Refused(id, Refusal::Loop));
            }
            Some(accepted) => {
                *accepted = true;
                self.outputs.push_back(Output::Accepted(id, hops));
            }
        }
    }

    fn announce(&mut self, announced: Announced, active: bool) {
        let known = self.announced.contains_key(&announced.stream);
        if !active {
            self.announced.remove(&announced.stream);
        } else if known || self.announced.len() < MAX_ANNOUNCED {
            self.announced.insert(announced.stream.clone(), announced);
        }
        self.outputs.push_back(Output::Announced);
    }

    fn send(&mut self, message: &Message) -> bool {
        let bytes = encoded(message);
        let sent = bytes.is_ok();
        self.outputs.extend(bytes.map(Output::Send));
        sent
    }

    fn close(&mut self, close: Close) {
        self.state = State::Closed;
        self.outputs.push_back(Output::Close(close));
    }
}
