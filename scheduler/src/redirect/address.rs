//! Sans-IO: whose address counts as the viewer's.
//!
//! `X-Forwarded-For` is written by whoever likes, so it is read from the right and only as far as
//! the hops are configured proxies: the first address that is not one is the viewer's. What cannot
//! be read ends the walk at the last hop that could.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Which peers may speak for others.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Networks of proxies whose header is believed.
    pub trusted: Vec<IpNet>,
    /// Whether they, and loopback, may name any address.
    pub allow_override: bool,
}

impl Proxies {
    /// The viewer's address: `asked` for where that is allowed, else what proxies say, else the
    /// peer's. `forwarded` are the header's values in the order received.
    pub fn viewer<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
        asked: Option<&str>,
    ) -> IpAddr {
        let peer = peer.to_canonical();
        let may_ask = self.allow_override && (peer.is_loopback() || self.trusts(peer));
        let asked = asked.filter(|_| may_ask).and_then(parse);
        asked.unwrap_or_else(|| self.behind(peer, forwarded))
    }

    fn behind<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut hops = forwarded.rev().flat_map(|value| value.rsplit(','));
        let mut viewer = peer;
        while self.trusts(viewer) {
            match hops.next().and_then(parse) {
                Some(hop) => viewer = hop,
                None => break,
            }
        }
        viewer
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }
}

/// An address as proxies write it: alone or with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse().ok();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    bare.or_else(with_port)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(allow_override: bool) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:f::/48"].map(|net| net.parse().unwrap());
        Proxies {
            trusted: trusted.to_vec(),
            allow_override,
        }
    }

    #[test]
    fn only_trusted_hops_are_walked_from_the_right() {
        let rows: [(&str, &[&str], &str); 11] = [
            ("198.51.100.1", &["203.0.113.9"], "198.51.100.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["1.1.1.1, 203.0.113.9, 10.2.2.2"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["203.0.113.9", "10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &["10.3.3.3,10.2.2.2"], "10.3.3.3"),
            ("10.0.0.1", &["203.0.113.9, what"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["[2001:db8::7]:80"], "2001:db8::7"),
            ("2001:db8:f::1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ];
        for (peer, forwarded, expected) in rows {
            let seen = proxies(true).viewer(peer.parse().unwrap(), forwarded.iter().copied(), None);
            assert_eq!(
                seen,
                expected.parse::<IpAddr>().unwrap(),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn another_address_may_be_asked_for_only_from_loopback_and_proxies() {
        for (allow, peer, asked, expected) in [
            (true, "127.0.0.1", "203.0.113.9", "203.0.113.9"),
            (true, "::1", "2001:db8::1", "2001:db8::1"),
            (true, "10.0.0.1", "203.0.113.9", "203.0.113.9"),
            (true, "127.0.0.1", "nowhere", "127.0.0.1"),
            (true, "198.51.100.1", "203.0.113.9", "198.51.100.1"),
            (false, "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        ] {
            let none = std::iter::empty();
            let seen = proxies(allow).viewer(peer.parse().unwrap(), none, Some(asked));
            assert_eq!(
                seen,
                expected.parse::<IpAddr>().unwrap(),
                "{allow} {peer} {asked}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_header_gives_an_address(header in "[ -~]{0,200}") {
            let peer = IpAddr::from([10, 0, 0, 1]);
            proxies(true).viewer(peer, std::iter::once(header.as_str()), Some(&header));
        }
    }
}
