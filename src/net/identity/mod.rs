//! # Who is who
//!
//! What it is: the cluster's own certificate authority, the names that its certificates carry, reading a [`Peer`] back
//! out of a certificate, and the token with which a node joins.
//!
//! Every certificate carries exactly one URI of ours as a subject alternative name, and nothing else in it is believed:
//!
//! | who | URI | usages | valid |
//! |---|---|---|---|
//! | the authority | `nodenomad://CLUSTER/authority` | signs certificates | 10 years |
//! | a member | `nodenomad://CLUSTER/node/ID` | server and client | 5 years |
//! | a client | `nodenomad://CLUSTER/client/NAME` | client only | 5 years |
//!
//! A member also carries the DNS name [`SERVER_NAME`], the same for all, so that a TLS library can check a name while the
//! identity stays in the URI and addresses may change. A client certificate cannot serve (usage) and cannot pass as a
//! member (URI). All keys are Ed25519. Certificates are valid from a day before they are made: clocks differ.
//!
//! Joining: the new node makes its own key and sends a signing request; only the *public key* of the request is used,
//! every name comes from the member that signs. The token names the authority by fingerprint, so the joiner knows whom it
//! speaks to before it says the secret; the cluster keeps only the secret's hash.
//!
//! Promises: no `Debug` or `Display` here shows a key or a secret (but [`JoinToken`]'s `Display`, whose purpose it is).
//! Relies on rcgen, ring and x509-parser. Does not: read a clock (callers pass `now_ms`), touch files, check chains (TLS
//! does), revoke.

pub mod name;
pub mod pem;
pub mod secrets;
pub mod token;
pub mod certificate;
pub mod authority;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::model::id::NodeId;

pub use authority::{Authority, NodeKey, request_key_hash};
pub use certificate::{fingerprint, named, peer_from_certificate};
pub use name::SERVER_NAME;
pub use secrets::Secrets;
pub use token::{JoinToken, secret_matches};

/// Who is at the other end, as proved by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A member of this cluster.
    Node(NodeId),
    /// A client with this name.
    Client(String),
    /// Nobody we know: may join, nothing else.
    Stranger,
}

/// What proves who we are, and who else belongs to the cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate of the cluster's authority.
    pub ca_der: Vec<u8>,
    /// Our certificate, signed by it.
    pub cert_der: Vec<u8>,
    /// Our private key (PKCS #8).
    pub key_der: Vec<u8>,
}

/// What is wrong with a certificate, request, token or name.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Ask for another name.
    #[error("`{name}` cannot be a name: 1 to {max} of A-Z a-z 0-9 . _ -", max = name::NAME_MAX_BYTES)]
    Name { name: String },
    /// It is damaged, or not of the kind we make.
    #[error("not a usable {what}: {reason}")]
    Malformed { what: &'static str, reason: String },
    /// It belongs to somebody else.
    #[error("it belongs to cluster `{found}`, not to `{expected}`")]
    Foreign { found: String, expected: String },
    /// Whoever it names, it is not for here.
    #[error("it names {found}, not {expected}")]
    Another { found: Peer, expected: Peer },
    /// The library that signs refused.
    #[error("cannot make the certificate")]
    Signing(#[from] rcgen::Error),
}

impl Identity {
    /// Certificate, authority and key as one PEM text, in this order.
    pub fn to_pem(&self) -> String {
        let certificates = [("CERTIFICATE", &self.cert_der), ("CERTIFICATE", &self.ca_der)];
        let all = certificates.into_iter().chain([("PRIVATE KEY", &self.key_der)]);
        all.map(|(label, der)| pem::encode(label, der)).collect()
    }

    /// Reads what [`Identity::to_pem`] wrote: our certificate first, then the authority's; the key anywhere.
    pub fn from_pem(text: &str) -> Result<Identity, IdentityError> {
        let mut certificates = pem::certificates(text)?.into_iter();
        let (Some(cert_der), Some(ca_der), None) =
            (certificates.next(), certificates.next(), certificates.next())
        else {
            let reason = "two certificates are needed: the own one and the authority's".to_owned();
            return Err(IdentityError::Malformed { what: "identity", reason });
        };
        Ok(Identity { ca_der, cert_der, key_der: pem::private_key(text)? })
    }

    /// Whom this identity names, without checking who signed it.
    pub fn peer(&self) -> Result<(String, Peer), IdentityError> {
        certificate::named(&self.cert_der)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer().ok()).finish_non_exhaustive()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Node(node) => write!(f, "node {node}"),
            Peer::Client(name) => write!(f, "client {name}"),
            Peer::Stranger => f.write_str("a stranger"),
        }
    }
}
