//! The `[scheduler.dns]` table; its comments are the operator's page.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use hickory_proto::rr::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::config::Duration;

/// `[scheduler.dns]`: the scheduler as the name server of a zone whose names are the best edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dns")]
pub struct Config {
    /// Where queries come, by UDP and TCP: `"0.0.0.0:53"`.
    pub listen: SocketAddr,
    /// The zone: `"live.example.com"`. It and `APP--STREAM` under it are answered with the best
    /// edges.
    pub zone: String,
    /// The names of this zone's servers, as they stand in the zone above it; they lie outside of
    /// this one: `["ns1.example.com"]`.
    pub ns: Vec<String>,
    /// Whom to write to about the zone; `hostmaster` of the zone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// How long an answer may be kept, 1s to 10m; each differs by up to 20 % from it.
    #[serde(default = "ttl")]
    pub ttl: Duration,
    /// Answers a second by UDP to one network (an IPv4 /24 or an IPv6 /56), 1 to 10000. Who asks
    /// more is told now and then to use TCP, and is not answered otherwise.
    #[serde(default = "rate")]
    pub rate: u32,
}

/// The names of the settings, parsed.
pub(super) struct Names {
    pub(super) zone: Name,
    pub(super) servers: Vec<Name>,
    pub(super) mail: Name,
}

impl Config {
    /// Whether the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.names()?;
        let ttl_s = self.ttl.get().as_secs();
        ensure!(
            (1..=600).contains(&ttl_s),
            "[scheduler.dns] ttl must be 1s to 10m"
        );
        ensure!(
            (1..=10_000).contains(&self.rate),
            "[scheduler.dns] rate must be 1 to 10000"
        );
        Ok(())
    }

    pub(super) fn names(&self) -> Result<Names> {
        let zone = name(&self.zone).context("[scheduler.dns] zone")?;
        ensure!(
            (1..=MAX_SERVERS).contains(&self.ns.len()),
            "[scheduler.dns] ns: name 1 to {MAX_SERVERS} servers, such as \"ns1.example.com\""
        );
        let servers = self.ns.iter().map(|text| {
            let server = name(text)?;
            ensure!(
                !zone.zone_of(&server),
                "{text} lies in the zone, whose names are edges: name one outside of it"
            );
            Ok(server)
        });
        let servers = servers
            .collect::<Result<_>>()
            .context("[scheduler.dns] ns")?;
        let mail = match &self.mail {
            Some(text) => mailbox(text).context("[scheduler.dns] mail")?,
            None => zone.prepend_label("hostmaster")?,
        };
        Ok(Names {
            zone,
            servers,
            mail,
        })
    }
}

/// A host's name that is not the root's.
fn name(text: &str) -> Result<Name> {
    let mut name = Name::from_ascii(text).with_context(|| format!("{text:?} is not a name"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    ensure!(
        !text.is_empty() && !name.is_root() && text.bytes().all(plain),
        "{text:?} is not a name such as live.example.com"
    );
    name.set_fqdn(true);
    Ok(name.to_lowercase())
}

/// A mailbox as a name: what is before the `@` is its first label (RFC 1035, section 8).
fn mailbox(text: &str) -> Result<Name> {
    let parts = text.split_once('@').filter(|(user, _)| !user.is_empty());
    let (user, domain) = parts.with_context(|| format!("{text:?} is not an address"))?;
    let label = Name::from_labels([user.as_bytes()]).context("the part before the @")?;
    let name = label.append_domain(&name(domain)?)?;
    Ok(name)
}

/// A drain or a death is over for everybody when this has passed.
fn ttl() -> Duration {
    Duration::from_secs(20)
}

/// A resolver keeps what it is told: even a large one asks a few times a second.
fn rate() -> u32 {
    100
}

/// As many as a zone above usually takes.
const MAX_SERVERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let text = "listen = \"127.0.0.1:0\"\nzone = \"live.example.com\"\n\
                    ns = [\"ns1.example.com\"]\nttl = \"20s\"\nrate = 100\n";
        for (from, to, expected) in [
            ("", "", ""),
            ("live.", "Live.", ""),
            ("example.com\"\nns", "example.com.\"\nns", ""),
            ("live.example.com", "", "is not a name"),
            ("live.example.com", "a b", "is not a name"),
            ("live.example.com", "a..b", "is not a name"),
            ("ns1.example", "ns1.live.example", "name one outside of it"),
            ("[\"ns1.example.com\"]", "[]", "name 1 to 8 servers"),
            ("20s", "0s", "ttl must be"),
            ("20s", "11m", "ttl must be"),
            ("100", "0", "rate must be"),
            ("rate", "mail = \"ops@example.com\"\nrate", ""),
            ("rate", "mail = \"@example.com\"\nrate", "is not an address"),
            ("rate", "mail = \"ops\"\nrate", "is not an address"),
        ] {
            let config: Config = toml::from_str(&text.replacen(from, to, 1)).unwrap();
            let said = config
                .check()
                .map_or_else(|error| format!("{error:#}"), |()| String::new());
            assert!(
                said.contains(expected),
                "{to:?}: {said:?} is not {expected:?}"
            );
            assert_eq!(said.is_empty(), expected.is_empty(), "{to:?}: {said:?}");
        }
    }
}
