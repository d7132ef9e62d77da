//! The sections of `weir.toml` that every role reads: `[node]`, `[cluster]`, `[tokens]`, `[time]`,
//! `[admin]`.
//!
//! The comments on the fields are the operator's configuration page. Reading the file, replacing
//! `${NAME}` and naming the nearest known key are the binary's.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transport::{admin, tls};

use crate::node::{MAX_NAME, NodeId, Place, Role, Zone};
use crate::time::Time;
use crate::token;

pub use transport::config::Secret;

/// What every role is given besides its own section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// `[node]`: who this node is.
    pub node: NodeConfig,
    /// `[cluster]`: the nodes it works with.
    pub cluster: Cluster,
    /// `[tokens]`: who may publish and watch.
    pub tokens: token::Config,
    /// `[time]`: its calendar.
    pub time: Time,
    /// `[admin]`: the listener for operators.
    pub admin: admin::Config,
}

/// `[node]`: who this node is and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Node")]
pub struct NodeConfig {
    /// The node's name, different for each node of the cluster; it appears in tokens, metrics and
    /// logs.
    /// Left out, it is made of the role and the host's name: `edge-fra1`.
    pub id: Option<NodeId>,
    /// Where the node stands: viewers are sent to a near one, so set it on every edge.
    /// Left out, the node counts as standing at 0, 0 in the Atlantic.
    pub place: Place,
    /// The group of nodes near each other that this one belongs to, by any name: `"eu"`.
    /// Edges of a zone that has a hub (`[edge] hub`) take their streams through it, so that each
    /// comes from far away once.
    /// Left out, an edge belongs to the zone of the nearest hub, and a hub to one of its own.
    pub zone: Option<Zone>,
}

impl NodeConfig {
    /// The configured name, or one made of the role and the host's name.
    pub fn id(&self, role: Role) -> NodeId {
        let made = || {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
            named_after(role, host.as_deref().unwrap_or_default())
        };
        self.id.clone().unwrap_or_else(made)
    }
}

/// A valid id from any host name; of a full domain name the first label is used.
fn named_after(role: Role, host: &str) -> NodeId {
    let label = host
        .trim()
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let mut id = format!(
        "{}-{}",
        role.as_str(),
        label.chars().map(plain).collect::<String>()
    );
    id.truncate(MAX_NAME);
    let id = id.trim_end_matches('-');
    NodeId::parse(id).expect("starts with the role; letters, digits and - only; cut to length")
}

/// `[cluster]`: the secret that makes nodes a cluster, and where its schedulers are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// The same text on every node, at least 16 characters: make one with `openssl rand -hex 32`.
    /// Nodes prove by it that they belong together, and tokens are signed with a key derived from
    /// it; whoever knows it can join. Best written `"${WEIR_SECRET}"` and kept out of the file.
    pub secret: Secret,
    /// Where this node reports, as the schedulers' cluster listeners:
    /// `["https://10.0.0.1:7700"]`. Several are tried in turn; one that answers is enough.
    /// While none answers, the node goes on with the last plan it was given.
    pub schedulers: Vec<String>,
    /// Certificates of your own instead of those that nodes make from the secret.
    pub tls: Option<TlsFiles>,
}

/// `[cluster.tls]`: PEM files for the connections between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The authority that signed every node's certificate.
    pub ca: PathBuf,
    /// This node's certificate, for the DNS names `node.weir` and the node's id.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The secret or the files are not usable.
    #[error("[cluster]: {0}")]
    Tls(#[from] tls::Error),
    /// The certificate is another node's.
    #[error("[cluster.tls] cert is for node {certified:?}, but this node's id is {id}")]
    OtherNode {
        /// The name in the certificate.
        certified: String,
        /// The node's.
        id: NodeId,
    },
}

impl Cluster {
    /// What the node shows to others: made from the secret, or read from the files.
    pub fn identity(&self, id: &NodeId) -> Result<tls::Identity, IdentityError> {
        let Some(files) = &self.tls else {
            return Ok(tls::Identity::from_secret(
                self.secret.expose(),
                id.as_str(),
            )?);
        };
        let identity = tls::Identity::from_files(&files.ca, &files.cert, &files.key)?;
        if identity.name() != id.as_str() {
            let certified = identity.name().to_owned();
            return Err(IdentityError::OtherNode {
                certified,
                id: id.clone(),
            });
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Audience, Demand};

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(toml::from_str::<Common>("").unwrap(), Common::default());
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            [node]
            id = "edge-1"
            place = { lat = 50.1, lon = 8.7, name = "Frankfurt", country = "DE" }
            [cluster]
            secret = "a long enough secret"
            schedulers = ["https://10.0.0.1:7700"]
            tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }
            [tokens]
            keys = [{ kid = "2026", secret = "0123456789abcdef0123456789abcdef" }]
            publish = "open"
            play = "required"
            ttl = "1m"
            bind_client = true
        "#;
        let common: Common = toml::from_str(text).unwrap();
        assert_eq!(common.node.id(Role::Edge).as_str(), "edge-1");
        assert_eq!(common.cluster.secret.expose(), "a long enough secret");
        assert_eq!(
            (common.tokens.publish, common.tokens.play),
            (Demand::Open, Audience::Required)
        );
        assert_eq!(common.tokens.ttl.get().as_secs(), 60);
    }

    #[test]
    fn unknown_keys_and_invalid_values_are_refused() {
        let rows = [
            "[node]\nname = 'x'",
            "[node]\nid = '../x'",
            "[node]\nplace = { lat = 100, lon = 0 }",
            "[cluster]\nsecrets = 'x'",
            "[cluster]\ntls = { ca = 'ca.pem' }",
            "[tokens]\nplay = 'closed'",
            "[tokens]\nkeys = [{ kid = 'x' }]",
            "[nodes]",
        ];
        for text in rows {
            assert!(toml::from_str::<Common>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut common = Common::default();
        common.cluster.secret = Secret::new("do not tell");
        let key = token::KeyConfig {
            kid: "a".into(),
            secret: Secret::new("do not tell"),
        };
        common.tokens.keys = vec![key];
        common.admin.token = Some(Secret::new("do not tell"));
        let shown = format!("{common:?} {}", serde_json::to_string(&common).unwrap());
        assert!(!shown.contains("tell") && shown.contains("***"), "{shown}");
    }

    #[test]
    fn an_id_is_made_of_role_and_host() {
        let long = "x".repeat(300);
        let rows = [
            ("fra1\n", "edge-fra1"),
            ("FRA1.example.com", "edge-fra1"),
            ("my_host", "edge-my-host"),
            ("", "edge"),
            ("-é-", "edge"),
            (&long, &format!("edge-{}", "x".repeat(59))),
        ];
        for (host, id) in rows {
            assert_eq!(named_after(Role::Edge, host).as_str(), id, "{host:?}");
        }
    }

    #[test]
    fn an_identity_is_made_from_the_secret() {
        let id = NodeId::parse("edge-1").unwrap();
        let mut cluster = Cluster::default();
        assert!(matches!(cluster.identity(&id), Err(IdentityError::Tls(_))));
        cluster.secret = Secret::new("a long enough secret");
        assert_eq!(cluster.identity(&id).unwrap().name(), "edge-1");
    }
}
