//! Reading certificates: whom they name, and their fingerprint.
//!
//! Does not check who signed them: TLS has done that before anything here is believed.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::name::{self, Named};
use super::{IdentityError, Peer};

/// A certificate larger than this is not one of ours, bytes.
pub const CERTIFICATE_MAX_BYTES: usize = 8 * 1024;

/// SHA-256 of the DER as 64 hexadecimal digits, the same that `openssl x509 -fingerprint -sha256` shows.
pub fn fingerprint(cert_der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, cert_der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The member or client that a certificate of this cluster names.
pub fn peer_from_certificate(cert_der: &[u8], cluster_id: &str) -> Result<Peer, IdentityError> {
    let (found, peer) = named(cert_der)?;
    if found != cluster_id {
        return Err(IdentityError::Foreign { found, expected: cluster_id.to_owned() });
    }
    Ok(peer)
}

/// The cluster and the member or client that a certificate names.
pub fn named(cert_der: &[u8]) -> Result<(String, Peer), IdentityError> {
    match read(cert_der)? {
        (cluster_id, Named::Peer(peer)) => Ok((cluster_id, peer)),
        (_, Named::Authority) => Err(malformed("it is the authority's own")),
    }
}

/// The cluster that an authority's certificate belongs to, and the raw public key in it.
pub(super) fn authority(ca_der: &[u8]) -> Result<(String, Vec<u8>), IdentityError> {
    match read(ca_der)? {
        (cluster_id, Named::Authority) => {
            let key = parse(ca_der)?.public_key().subject_public_key.data.to_vec();
            Ok((cluster_id, key))
        }
        _ => Err(malformed("it is not an authority's")),
    }
}

fn read(cert_der: &[u8]) -> Result<(String, Named), IdentityError> {
    let certificate = parse(cert_der)?;
    let names = certificate.subject_alternative_name().map_err(|error| malformed(&error.to_string()))?;
    let names = names.ok_or_else(|| malformed("it names nobody"))?;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    // Two names would leave it to chance who somebody is.
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(malformed("it must carry exactly one URI"));
    };
    name::parse(uri).ok_or_else(|| malformed("its URI names nobody of a NodeNomad cluster"))
}

fn parse(cert_der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    if cert_der.len() > CERTIFICATE_MAX_BYTES {
        return Err(malformed("it is too large"));
    }
    match X509Certificate::from_der(cert_der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(malformed("bytes follow it")),
        Err(error) => Err(malformed(&error.to_string())),
    }
}

fn malformed(reason: &str) -> IdentityError {
    IdentityError::Malformed { what: "certificate", reason: reason.to_owned() }
}
