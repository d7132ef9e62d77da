//! Who a node is, and encryption between nodes and towards viewers; aws-lc-rs only.
//!
//! Between nodes both sides show a certificate signed by the cluster's authority, over TLS 1.3.
//! The authority's Ed25519 key is derived from the cluster's secret, so every node makes the
//! same authority by itself and signs its own certificate; a node without the secret fails the
//! handshake, having seen no more than the other's certificate. Certificates made here do not
//! expire: the secret is the authority, and changing it is the revocation.
//!
//! The secret is not stretched: a guessable one can be found by trying guesses against a
//! certificate seen on the wire, so it should come from `openssl rand -hex 32`.

mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::{hkdf, signature::Ed25519KeyPair};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

pub use rustls::{ClientConfig, ServerConfig};
pub use stream::{Stream, accept, connect, sniff};

/// The name that every node's certificate carries and that a dialling node expects.
pub const NODE_NAME: &str = "node.weir";

/// The fewest characters a cluster's secret may have.
pub const MIN_SECRET: usize = 16;

/// Makes aws-lc-rs the process's TLS provider; calling it again does nothing.
pub fn install() {
    // An error means that a provider is installed already.
    let _ = provider::default_provider().install_default();
}

/// A node's certificate, its key, and the authority it trusts other nodes by.
#[derive(Clone)]
pub struct Identity {
    name: String,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// The identity of `node` in the cluster that shares `secret`.
    pub fn from_secret(secret: &str, node: &str) -> Result<Self, Error> {
        if secret.chars().count() < MIN_SECRET {
            return Err(Error::ShortSecret);
        }
        let authority_key = authority_key(secret)?;
        let params = authority_params();
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::from_params(&params, authority_key);
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let leaf = leaf_params(node)?.signed_by(&key, &issuer)?;
        let chain = vec![leaf.der().clone()];
        if peer_name(&chain).as_deref() != Some(node) {
            return Err(bad(node));
        }
        Self::new(&[authority.der().clone()], chain, key.into())
    }

    /// An identity from PEM files: the authority's certificates, the node's chain and its key.
    /// The node's certificate must name [`NODE_NAME`] and the node's id, and allow both roles.
    pub fn from_files(ca: &Path, cert: &Path, key: &Path) -> Result<Self, Error> {
        let roots = read_certificates(ca)?;
        Self::new(&roots, read_certificates(cert)?, read_key(key)?)
    }

    /// The node's id, as its certificate names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For accepting nodes: a client without a certificate of this cluster is refused.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<ServerConfig, Error> {
        let provider = Arc::new(provider::default_provider());
        let roots = Arc::clone(&self.roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| Error::Authority(e.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = protocols(alpn);
        Ok(config)
    }

    /// For dialling nodes: a server without a certificate of this cluster is refused.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<ClientConfig, Error> {
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(Arc::clone(&self.roots))
                .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = protocols(alpn);
        Ok(config)
    }

    fn new(
        authority: &[CertificateDer<'static>],
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let roots = Arc::new(roots(authority)?);
        let name = peer_name(&chain).ok_or(Error::Nameless)?;
        Ok(Self {
            name,
            roots,
            chain,
            key: Arc::new(key),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The node id in a peer's verified certificate chain: the DNS name that is not [`NODE_NAME`].
pub fn peer_name(chain: &[CertificateDer<'_>]) -> Option<String> {
    let leaf = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
    leaf.valid_dns_names()
        .find(|name| *name != NODE_NAME)
        .map(str::to_owned)
}

/// For viewers: a certificate chain and key from PEM files, HTTP/2 and HTTP/1.1 offered.
pub fn public(cert: &Path, key: &Path) -> Result<ServerConfig, Error> {
    public_config(read_certificates(cert)?, read_key(key)?)
}

/// A certificate for trials, which clients trust only when told to.
pub struct SelfSigned {
    /// For the server, HTTP/2 and HTTP/1.1 offered.
    pub config: ServerConfig,
    /// What a client must trust, as PEM.
    pub certificate_pem: String,
}

/// Makes a certificate for the names (DNS names or addresses) that signs itself.
pub fn self_signed(names: &[String]) -> Result<SelfSigned, Error> {
    let key = KeyPair::generate()?;
    let certificate: Certificate = CertificateParams::new(names)?.self_signed(&key)?;
    Ok(SelfSigned {
        certificate_pem: certificate.pem(),
        config: public_config(vec![certificate.der().clone()], key.into())?,
    })
}

/// For clients that trust the PEM certificates and show none of their own.
pub fn trusting(pem: &str) -> Result<ClientConfig, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = found.map_err(|e| Error::Authority(e.to_string()))?;
    Ok(
        ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&certificates)?)
            .with_no_client_auth(),
    )
}

/// Why an identity or a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's secret is shorter than [`MIN_SECRET`].
    #[error(
        "the cluster's secret is too short: {MIN_SECRET} characters at least, \
         better the output of `openssl rand -hex 32`"
    )]
    ShortSecret,
    /// The node's id cannot stand in a certificate.
    #[error(
        "\"{0}\" cannot be a node's id: letters, digits, '-' and '.' as in a host name, \
         and not {NODE_NAME}"
    )]
    Node(String),
    /// The node's certificate has no DNS name for its id.
    #[error(
        "the node's certificate names no node: give it {NODE_NAME} and the node's id as DNS names"
    )]
    Nameless,
    /// A PEM file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The authority's certificates cannot be used.
    #[error("authority certificates: {0}")]
    Authority(String),
    /// A certificate cannot be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The certificate and key do not make a TLS configuration.
    #[error("certificate or key: {0}")]
    Config(#[from] rustls::Error),
}

/// HKDF-SHA256 (RFC 5869) of the secret is the seed of the authority's key (RFC 8032).
fn authority_key(secret: &str) -> Result<KeyPair, Error> {
    let mut seed = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"weir cluster authority 1")
        .extract(secret.as_bytes())
        .expand(&[b"ed25519 seed"], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut seed))
        .expect("the output is as long as the hash");
    let pkcs8 = Ed25519KeyPair::from_seed_unchecked(&seed)
        .expect("any 32 bytes are a seed")
        .to_pkcs8v1()
        .expect("a key in memory can be written out");
    Ok(KeyPair::try_from(&PrivatePkcs8KeyDer::from(
        pkcs8.as_ref(),
    ))?)
}

fn authority_params() -> CertificateParams {
    let mut params = undated_params();
    params
        .distinguished_name
        .push(DnType::CommonName, "weir cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf_params(node: &str) -> Result<CertificateParams, Error> {
    let name = |text: &str| {
        text.try_into()
            .map(rcgen::SanType::DnsName)
            .map_err(|_| bad(node))
    };
    let mut params = undated_params();
    params.distinguished_name.push(DnType::CommonName, node);
    params.subject_alt_names = vec![name(NODE_NAME)?, name(node)?];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

/// Valid on any clock: a node whose clock is wrong must still reach its cluster.
fn undated_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2200, 1, 1);
    params
}

fn bad(node: &str) -> Error {
    Error::Node(node.to_owned())
}

fn public_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocols(&[b"h2", b"http/1.1"]);
    Ok(config)
}

fn roots(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone())?;
    }
    if roots.is_empty() {
        return Err(Error::Authority("no certificate found".to_owned()));
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(file_error(path, "no certificate found")),
        Ok(found) => Ok(found),
        Err(error) => Err(file_error(path, error)),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, reason: impl fmt::Display) -> Error {
    Error::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn protocols(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.to_vec()).collect()
}
