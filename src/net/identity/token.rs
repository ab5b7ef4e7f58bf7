//! The token that lets a node join: `nn1.FINGERPRINT.ID.SECRET`, lower-case hexadecimal, one word to copy.
//!
//! The fingerprint is that of the cluster's authority, the id finds the token's record, the secret (128 bits) is kept
//! nowhere: the cluster stores its hash. Does not count uses and does not expire: the meta shard does.

use std::fmt;
use std::str::FromStr;

use super::IdentityError;
use super::secrets::Secrets;

const PREFIX: &str = "nn1";
const FINGERPRINT_BYTES: usize = 32;
const ID_BYTES: usize = 5;
const SECRET_BYTES: usize = 16;

/// A token, secret included.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// [`super::fingerprint`] of the authority.
    pub ca_fingerprint: String,
    /// Names the token in lists and records. Not secret.
    pub id: String,
    secret: [u8; SECRET_BYTES],
}

impl JoinToken {
    /// A fresh one.
    pub fn generate(ca_fingerprint: &str, secrets: &Secrets) -> JoinToken {
        let mut id = [0; ID_BYTES];
        let mut secret = [0; SECRET_BYTES];
        secrets.fill(&mut id);
        secrets.fill(&mut secret);
        JoinToken { ca_fingerprint: ca_fingerprint.to_owned(), id: hex(&id), secret }
    }

    /// What is sent with a request to join.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// What the cluster stores.
    pub fn secret_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
    }
}

/// Whether this is the secret with that hash. The time it takes says nothing about either.
pub fn secret_matches(secret_hash: &[u8], secret: &[u8]) -> bool {
    // Comparing two `blake3::Hash` takes constant time.
    <[u8; 32]>::try_from(secret_hash).is_ok_and(|stored| blake3::hash(secret) == blake3::Hash::from(stored))
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", self.ca_fingerprint, self.id, hex(&self.secret))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = IdentityError;

    /// Surrounding white space is forgiven: tokens are pasted.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The reason never quotes the text: most of a mistyped secret is a secret.
        let malformed =
            |reason: &str| IdentityError::Malformed { what: "join token", reason: reason.to_owned() };
        let parts: Vec<&str> = text.trim().splitn(5, '.').collect();
        let [prefix, fingerprint, id, secret] = parts[..] else {
            return Err(malformed("it has four parts, separated by dots"));
        };
        if prefix != PREFIX {
            return Err(malformed("it begins with `nn1.`"));
        }
        let fingerprint = unhex::<FINGERPRINT_BYTES>(fingerprint);
        let fingerprint = fingerprint.ok_or_else(|| malformed("its fingerprint is damaged"))?;
        let id = unhex::<ID_BYTES>(id).ok_or_else(|| malformed("its id is damaged"))?;
        let secret = unhex::<SECRET_BYTES>(secret).ok_or_else(|| malformed("its secret is damaged"))?;
        Ok(JoinToken { ca_fingerprint: hex(&fingerprint), id: hex(&id), secret })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
