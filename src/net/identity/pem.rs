//! Keys and certificates as text (PEM, RFC 7468).
//!
//! Does not say what is in them, nor print a key in an error.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::IdentityError;

/// Certificates that a text may hold.
const CERTIFICATES_MAX: usize = 16;
const LINE_CHARS: usize = 64;

/// One block.
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut block = format!("-----BEGIN {label}-----\n");
    for start in (0..text.len()).step_by(LINE_CHARS) {
        block.push_str(&text[start..text.len().min(start + LINE_CHARS)]);
        block.push('\n');
    }
    block.push_str(&format!("-----END {label}-----\n"));
    block
}

/// All certificates in a text, in order.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, IdentityError> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).take(CERTIFICATES_MAX);
    let all: Result<Vec<_>, _> = found.map(|one| one.map(|der| der.to_vec())).collect();
    all.map_err(|error| IdentityError::Malformed { what: "PEM certificate", reason: error.to_string() })
}

/// The first private key (PKCS #8) in a text.
pub fn private_key(text: &str) -> Result<Vec<u8>, IdentityError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes());
    let key = key.map(|der| der.secret_pkcs8_der().to_vec());
    key.map_err(|error| IdentityError::Malformed { what: "PEM private key", reason: error.to_string() })
}
