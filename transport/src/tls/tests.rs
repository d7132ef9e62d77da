//! Handshakes in memory: who is let in, and what is said to whom is not.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

const SECRET: &str = "a secret of the cluster under test";

/// Both sides' outcome after a handshake and one byte each way: the peer's name or nothing.
/// A TLS 1.3 client learns only at its first read that its certificate was refused.
async fn meet(server: &Identity, client: &Identity) -> (Option<String>, Option<String>) {
    let server = Arc::new(server.server_config(&[b"test"]).unwrap());
    let client = Arc::new(client.client_config(&[b"test"]).unwrap());
    let (ours, theirs) = duplex(64 << 10);
    tokio::join!(
        async { greet(accept(server, ours).await.ok()?).await },
        async { greet(connect(client, NODE_NAME, theirs).await.ok()?).await },
    )
}

async fn greet(mut stream: Stream<tokio::io::DuplexStream>) -> Option<String> {
    stream.write_u8(1).await.ok()?;
    stream.flush().await.ok()?;
    stream.read_u8().await.ok()?;
    stream.peer_name()
}

fn identity(secret: &str, node: &str) -> Identity {
    Identity::from_secret(secret, node).unwrap()
}

#[tokio::test]
async fn nodes_with_the_secret_know_each_other_by_name() {
    let (fra, sha) = (identity(SECRET, "fra-1"), identity(SECRET, "Sha_2.cn"));
    assert_eq!(
        meet(&fra, &sha).await,
        (Some("Sha_2.cn".into()), Some("fra-1".into()))
    );
    assert_eq!(
        meet(&sha, &fra).await,
        (Some("fra-1".into()), Some("Sha_2.cn".into()))
    );
}

#[tokio::test]
async fn another_secret_is_refused_in_both_directions() {
    let (ours, stranger) = (
        identity(SECRET, "fra-1"),
        identity("another, just as long", "fra-1"),
    );
    assert_eq!(meet(&ours, &stranger).await, (None, None));
    assert_eq!(meet(&stranger, &ours).await, (None, None));
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let server = identity(SECRET, "fra-1");
    let authority = authority_params()
        .self_signed(&authority_key(SECRET).unwrap())
        .unwrap();
    let pem = authority.pem();
    let (ours, theirs) = duplex(64 << 10);
    let config = Arc::new(server.server_config(&[]).unwrap());
    let client = Arc::new(trusting(&pem).unwrap());
    let (accepted, greeted) = tokio::join!(accept(config, ours), async {
        greet(connect(client, NODE_NAME, theirs).await.ok()?).await
    });
    assert!(accepted.is_err());
    assert_eq!(greeted, None);
}

#[tokio::test]
async fn every_node_derives_the_same_authority() {
    let der = || {
        let key = authority_key(SECRET).unwrap();
        authority_params().self_signed(&key).unwrap().der().to_vec()
    };
    assert_eq!(der(), der());
}

#[test]
fn a_short_secret_or_an_impossible_name_is_refused_with_advice() {
    let check = |secret: &str, node: &str, advice: &str| {
        let error = Identity::from_secret(secret, node).unwrap_err().to_string();
        assert!(error.contains(advice), "{error}");
    };
    check("", "fra-1", "openssl rand");
    check("fifteen letters", "fra-1", "16 characters");
    for node in ["", "two words", "fra/1", "köln", NODE_NAME, "-", "a..b"] {
        check(SECRET, node, "as in a host name");
    }
}

#[test]
fn an_identity_does_not_print_its_key() {
    assert_eq!(
        format!("{:?}", identity(SECRET, "fra-1")),
        "Identity { name: \"fra-1\", .. }"
    );
}

/// What an operator's own authority would issue, as files.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn issue(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let params = authority_params();
        let authority = params.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap();
        let leaf = leaf
            .signed_by(&key, &Issuer::from_params(&params, authority_key))
            .unwrap();
        let files = Self { dir };
        std::fs::write(files.path("ca.pem"), authority.pem()).unwrap();
        std::fs::write(files.path("cert.pem"), leaf.pem()).unwrap();
        std::fs::write(files.path("key.pem"), key.serialize_pem()).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn identity(&self) -> Result<Identity, Error> {
        Identity::from_files(
            &self.path("ca.pem"),
            &self.path("cert.pem"),
            &self.path("key.pem"),
        )
    }
}

#[tokio::test]
async fn given_files_make_an_identity_of_their_own_cluster() {
    let files = Files::issue(&[NODE_NAME, "fra-1"]);
    let node = files.identity().unwrap();
    assert_eq!(node.name(), "fra-1");
    assert_eq!(
        meet(&node, &node).await,
        (Some("fra-1".into()), Some("fra-1".into()))
    );
    assert_eq!(meet(&node, &identity(SECRET, "fra-2")).await, (None, None));
}

#[test]
fn unusable_files_are_named() {
    let files = Files::issue(&[NODE_NAME]);
    let error = files.identity().unwrap_err().to_string();
    assert!(error.contains("names no node"), "{error}");
    std::fs::write(files.path("cert.pem"), "not PEM").unwrap();
    let error = files.identity().unwrap_err().to_string();
    assert!(error.contains("cert.pem: no certificate found"), "{error}");
    std::fs::remove_file(files.path("key.pem")).unwrap();
    let error = public(&files.path("ca.pem"), &files.path("key.pem"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("key.pem"), "{error}");
}

#[tokio::test]
async fn one_port_takes_plain_and_tls() {
    let listener = crate::accept::Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let made = self_signed(&["127.0.0.1".to_owned()]).unwrap();
    let config = Arc::new(made.config);
    let client = Arc::new(trusting(&made.certificate_pem).unwrap());
    let server = async {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await;
            let mut stream = sniff(stream, Some(Arc::clone(&config))).await.unwrap();
            let byte = stream.read_u8().await.unwrap();
            stream.write_u8(byte + 1).await.unwrap();
            stream.flush().await.unwrap();
        }
    };
    let clients = async {
        let mut plain = tokio::net::TcpStream::connect(addr).await.unwrap();
        plain.write_u8(3).await.unwrap();
        assert_eq!(plain.read_u8().await.unwrap(), 4);
        let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
        let mut tls = connect(client, "127.0.0.1", tcp).await.unwrap();
        tls.write_u8(3).await.unwrap();
        tls.flush().await.unwrap();
        assert_eq!(tls.read_u8().await.unwrap(), 4);
    };
    tokio::join!(server, clients);
}
