//! What TLS is told: certificates, whom to believe, and the protocols by which a connection's class is known.
//!
//! Promises: one crypto provider (ring), TLS 1.3 only. Roles are not checked here but after the handshake
//! ([`super::admit`]); chains, usages and signatures are.

use std::collections::BTreeMap;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::{BindError, Class, Peer, Security, endpoint};
use crate::net::identity::{self, Authority, Identity, IdentityError};

/// Class and ALPN. The number rises when the two sides could no longer understand each other.
const PROTOCOLS: [(Class, &[u8]); 5] = [
    (Class::Control, b"nn-peer-control/1"),
    (Class::Append, b"nn-peer-append/1"),
    (Class::Bulk, b"nn-peer-bulk/1"),
    (Class::Client, b"nn-client/1"),
    (Class::Join, b"nn-join/1"),
];

/// The cluster id in the certificates of a cluster without security.
const INSECURE_CLUSTER: &str = "insecure";

pub(super) struct Tls {
    pub(super) server: Option<QuicServerConfig>,
    pub(super) dialer: Arc<Dialer>,
    /// What a restarted member derives its reset keys from.
    pub(super) reset_seed: Option<[u8; 32]>,
}

/// How to dial, and how to read who is at the other end (also of accepted connections).
pub(super) struct Dialer {
    pub(super) configs: BTreeMap<Class, quinn::ClientConfig>,
    pub(super) loopback_only: bool,
    /// `None`: any cluster (the joiner does not know it yet, but knows its authority).
    pub(super) cluster_id: Option<String>,
}

impl Tls {
    pub(super) fn new(security: &Security) -> Result<Tls, BindError> {
        match security {
            Security::Mutual { identity, cluster_id } => {
                identity::peer_from_certificate(&identity.cert_der, cluster_id)?;
                Tls::mutual(identity, cluster_id)
            }
            Security::JoinOnly { expect_ca_fingerprint } => {
                Tls::pinned(expect_ca_fingerprint, |class| class == Class::Join)
            }
            Security::Insecure { claim } => Tls::insecure(claim),
        }
    }

    fn mutual(identity: &Identity, cluster_id: &str) -> Result<Tls, BindError> {
        let provider = provider();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(identity.ca_der.clone()))?;
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let server = server(&provider, clients, identity)?;
        let configs = clients_for(&PROTOCOLS, || {
            let client = client_builder(&provider)?.with_root_certificates(Arc::clone(&roots));
            client.with_client_auth_cert(chain(identity), key(identity))
        })?;
        let cluster_id = Some(cluster_id.to_owned());
        let dialer = Arc::new(Dialer { configs, loopback_only: false, cluster_id });
        let reset_seed = blake3::derive_key("nodenomad quic stateless reset", &identity.key_der);
        Ok(Tls { server: Some(server), dialer, reset_seed: Some(reset_seed) })
    }

    /// Without a certificate, for these classes.
    pub(super) fn pinned(fingerprint: &str, classes: impl Fn(Class) -> bool) -> Result<Tls, BindError> {
        let provider = provider();
        let verifier = Pinned { fingerprint: fingerprint.to_owned(), provider: Arc::clone(&provider) };
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verifier);
        let configs = clients_for(PROTOCOLS.iter().filter(|(class, _)| classes(*class)), || {
            let client = client_builder(&provider)?.dangerous();
            Ok(client.with_custom_certificate_verifier(Arc::clone(&verifier)).with_no_client_auth())
        })?;
        let dialer = Arc::new(Dialer { configs, loopback_only: false, cluster_id: None });
        Ok(Tls { server: None, dialer, reset_seed: None })
    }

    fn insecure(claim: &Peer) -> Result<Tls, BindError> {
        let provider = provider();
        // Nobody looks at these dates.
        let throwaway = Authority::create(INSECURE_CLUSTER, 0)?;
        let identity = match claim {
            Peer::Node(node) => throwaway.issue_node(*node, 0)?,
            Peer::Client(name) => throwaway.issue_client(name, 0)?,
            Peer::Stranger => throwaway.issue_client("stranger", 0)?,
        };
        let anybody = Arc::new(Anybody { provider: Arc::clone(&provider) });
        let server = match claim {
            Peer::Node(_) => Some(server(&provider, Arc::clone(&anybody) as _, &identity)?),
            Peer::Client(_) | Peer::Stranger => None,
        };
        let configs = clients_for(&PROTOCOLS, || {
            let client = client_builder(&provider)?.dangerous();
            let client = client.with_custom_certificate_verifier(Arc::clone(&anybody) as _);
            client.with_client_auth_cert(chain(&identity), key(&identity))
        })?;
        let cluster_id = Some(INSECURE_CLUSTER.to_owned());
        Ok(Tls {
            server,
            dialer: Arc::new(Dialer { configs, loopback_only: true, cluster_id }),
            reset_seed: None,
        })
    }
}

impl Dialer {
    /// Who a connection's certificate says it is; nobody without one.
    pub(super) fn peer(&self, connection: &quinn::Connection) -> Result<Peer, IdentityError> {
        let shown =
            connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'_>>>().ok());
        match (shown.as_ref().and_then(|chain| chain.first()), &self.cluster_id) {
            (None, _) => Ok(Peer::Stranger),
            (Some(leaf), Some(cluster_id)) => identity::peer_from_certificate(leaf, cluster_id),
            (Some(leaf), None) => identity::named(leaf).map(|(_, peer)| peer),
        }
    }
}

/// What a connection is for.
pub(super) fn class(connection: &quinn::Connection) -> Option<Class> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    let protocol = data.protocol?;
    PROTOCOLS.iter().find(|(_, alpn)| *alpn == protocol).map(|(class, _)| *class)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(identity: &Identity) -> Vec<CertificateDer<'static>> {
    // The authority's goes along for joiners, who know only its fingerprint.
    vec![CertificateDer::from(identity.cert_der.clone()), CertificateDer::from(identity.ca_der.clone())]
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(identity.key_der.clone()).into()
}

fn server(
    provider: &Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    identity: &Identity,
) -> Result<QuicServerConfig, Error> {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(provider));
    let builder =
        builder.with_protocol_versions(&[&rustls::version::TLS13])?.with_client_cert_verifier(clients);
    let mut config = builder.with_single_cert(chain(identity), key(identity))?;
    config.alpn_protocols = PROTOCOLS.iter().map(|(_, alpn)| alpn.to_vec()).collect();
    // A resumed session would carry an identity that nobody has checked again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
}

fn client_builder(
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, Error> {
    rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
}

/// One configuration a class: they differ in the protocol they offer.
fn clients_for<'a>(
    protocols: impl IntoIterator<Item = &'a (Class, &'static [u8])>,
    make: impl Fn() -> Result<rustls::ClientConfig, Error>,
) -> Result<BTreeMap<Class, quinn::ClientConfig>, Error> {
    let one = |(class, alpn): &(Class, &[u8])| {
        let mut config = make()?;
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        let quic = QuicClientConfig::try_from(config).map_err(|error| Error::General(error.to_string()))?;
        Ok((*class, endpoint::client_config(quic, *class)))
    };
    protocols.into_iter().map(one).collect()
}

/// Believes a member of the cluster whose authority has this fingerprint.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

/// Believes everybody. What is signed must still be signed with the key that is shown.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = others.iter().find(|other| identity::fingerprint(other) == self.fingerprint);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, others, now, algorithms)?;
        verify_server_name(&parsed, server_name)?;
        match identity::named(leaf) {
            Ok((_, Peer::Node(_))) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(&self.provider, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(&self.provider, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature(&self.provider, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn signature(
    provider: &CryptoProvider,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, certificate, signed, &provider.signature_verification_algorithms)
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken here".to_owned())
}
