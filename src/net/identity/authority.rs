//! The cluster's certificate authority, and the keys it signs.
//!
//! Promises: names, usages and lifetimes in what it signs are its own choice, whatever a request asks for. Its key leaves
//! only through [`Authority::to_parts`]. Does not remember what it signed.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};

use super::name::{self, Named, SERVER_NAME};
use super::{Identity, IdentityError, Peer, certificate};
use crate::model::id::NodeId;

/// How long the authority's own certificate lasts, days.
pub const AUTHORITY_DAYS: u64 = 3652;
/// How long a member's or client's certificate lasts, days.
pub const LEAF_DAYS: u64 = 1826;
/// A signing request larger than this is refused unread, bytes.
pub const REQUEST_MAX_BYTES: usize = 4 * 1024;

/// Certificates are valid from this long before they are made, days.
const BACKDATED_DAYS: u64 = 1;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const SERIAL_BYTES: usize = 16;

/// Signs the certificates of one cluster.
pub struct Authority {
    cluster_id: String,
    ca_der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A member's own key, which never leaves it, and the request to sign it.
pub struct NodeKey {
    /// Private key (PKCS #8).
    pub key_der: Vec<u8>,
    /// Certificate signing request; names nobody.
    pub csr_der: Vec<u8>,
}

impl Authority {
    /// A new authority with a new key.
    pub fn create(cluster_id: &str, now_ms: u64) -> Result<Authority, IdentityError> {
        name::check(cluster_id)?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = params(&format!("NodeNomad {cluster_id}"), now_ms, AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![uri(cluster_id, &Named::Authority)?];
        let ca_der = params.self_signed(&key)?.der().to_vec();
        Ok(Authority { cluster_id: cluster_id.to_owned(), ca_der, issuer: Issuer::new(params, key) })
    }

    /// The authority with this certificate and this private key, as [`Authority::to_parts`] gave them.
    pub fn from_parts(ca_cert_der: &[u8], ca_key_der: &[u8]) -> Result<Authority, IdentityError> {
        let (cluster_id, public_key) = certificate::authority(ca_cert_der)?;
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(ca_key_der), &PKCS_ED25519)?;
        if key.public_key_raw() != public_key {
            let reason = "the certificate belongs to another key".to_owned();
            return Err(IdentityError::Malformed { what: "authority", reason });
        }
        let ca_der = ca_cert_der.to_vec();
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(ca_cert_der), key)?;
        Ok(Authority { cluster_id, ca_der, issuer })
    }

    /// Certificate and private key. Whoever has both is the cluster: keep the key sealed.
    pub fn to_parts(&self) -> (Vec<u8>, Vec<u8>) {
        (self.ca_der.clone(), self.issuer.key().serialize_der())
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub fn ca_der(&self) -> &[u8] {
        &self.ca_der
    }

    /// What a join token pins.
    pub fn fingerprint(&self) -> String {
        certificate::fingerprint(&self.ca_der)
    }

    /// The certificate that makes the key in a request a member's. Fails if the requester did not prove to have the key.
    pub fn sign_node(&self, csr_der: &[u8], node: NodeId, now_ms: u64) -> Result<Vec<u8>, IdentityError> {
        self.sign(&requested_key(csr_der)?, &Peer::Node(node), now_ms)
    }

    /// A member's identity with a new key, made here: for the first member.
    pub fn issue_node(&self, node: NodeId, now_ms: u64) -> Result<Identity, IdentityError> {
        self.issue(&Peer::Node(node), now_ms)
    }

    /// A client's identity with a new key.
    pub fn issue_client(&self, name: &str, now_ms: u64) -> Result<Identity, IdentityError> {
        name::check(name)?;
        self.issue(&Peer::Client(name.to_owned()), now_ms)
    }

    /// The same key, for another cluster: what a careless restore could make.
    #[cfg(test)]
    pub(crate) fn renamed(mut self, cluster_id: &str) -> Authority {
        self.cluster_id = cluster_id.to_owned();
        self
    }

    fn issue(&self, peer: &Peer, now_ms: u64) -> Result<Identity, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let cert_der = self.sign(&key, peer, now_ms)?;
        Ok(Identity { ca_der: self.ca_der.clone(), cert_der, key_der: key.serialize_der() })
    }

    fn sign(&self, key: &impl PublicKeyData, peer: &Peer, now_ms: u64) -> Result<Vec<u8>, IdentityError> {
        let mut params = params(&peer.to_string(), now_ms, LEAF_DAYS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![uri(&self.cluster_id, &Named::Peer(peer.clone()))?];
        if let Peer::Node(_) = peer {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names.push(SanType::DnsName(SERVER_NAME.try_into()?));
        }
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.der().to_vec())
    }
}

impl NodeKey {
    pub fn generate() -> Result<NodeKey, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_der = params.serialize_request(&key)?.der().to_vec();
        Ok(NodeKey { key_der: key.serialize_der(), csr_der })
    }
}

/// Hash of the public key in a signing request: a repeat of the same request has the same one.
pub fn request_key_hash(csr_der: &[u8]) -> Result<[u8; 32], IdentityError> {
    Ok(*blake3::hash(requested_key(csr_der)?.der_bytes()).as_bytes())
}

/// The only part of a request that is used. Its signature is checked.
fn requested_key(csr_der: &[u8]) -> Result<rcgen::PublicKey, IdentityError> {
    let malformed = |reason: String| IdentityError::Malformed { what: "signing request", reason };
    if csr_der.len() > REQUEST_MAX_BYTES {
        return Err(malformed("it is too large".to_owned()));
    }
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der));
    let key = request.map_err(|error| malformed(error.to_string()))?.public_key;
    if *key.algorithm() != PKCS_ED25519 {
        return Err(malformed("its key is not Ed25519".to_owned()));
    }
    Ok(key)
}

fn params(common_name: &str, now_ms: u64, days: u64) -> CertificateParams {
    let at = |ms: u64| date_time_ymd(1970, 1, 1) + Duration::from_millis(ms);
    let mut params = CertificateParams::default();
    params.not_before = at(now_ms.saturating_sub(BACKDATED_DAYS * DAY_MS));
    params.not_after = at(now_ms.saturating_add(days * DAY_MS));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).expect("the operating system has randomness");
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn uri(cluster_id: &str, named: &Named) -> Result<SanType, IdentityError> {
    Ok(SanType::URI(name::uri(cluster_id, named).try_into()?))
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").finish_non_exhaustive()
    }
}
