//! Join tokens: who may become a member.
//!
//! A token is a public id and a secret, of which only the hash is stored. A use is consumed together with the hash of
//! the joiner's own key, in one compare-and-set of the record, so a joiner whose answer was lost can ask again.
//!
//! Promises: a token works at most as often as it says, not after it expired, not once its record is gone (that is how
//! one is revoked). The same key is given the same node id, whoever answers. Does not hash, store or send anything.

use bytes::Bytes;

use super::id::NodeId;
use super::wire::TokenRecord;

/// Most uses of one token.
pub const USES_MAX: u32 = 1_000;
/// How long after expiry a key that was accepted before is answered again, in milliseconds.
pub const REPEAT_GRACE_MS: u64 = 600_000;

/// A token that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// This key was accepted before, as this node: nothing is to be written.
    Repeat { node: NodeId },
    /// First seen now: `record` is to be written over the one judged, and only over that.
    Fresh { node: NodeId, record: TokenRecord },
}

/// Why a token does not let anybody in. Messages are for the joiner: they tell a guesser nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this token is not known here: it was mistyped or revoked")]
    Unknown,
    #[error("this token expired")]
    Expired,
    #[error("this token was used as often as it may be")]
    UsedUp,
    #[error("this token's record is damaged")]
    Damaged,
}

/// Judges an attempt to join with a token. `record` is the stored one (`None`: there is none of this id), `fresh` the
/// node id to give if the key was not seen before.
///
/// # Errors
///
/// If nobody is to be let in.
pub fn consume(
    record: Option<&TokenRecord>,
    secret_hash: &[u8],
    key_hash: &[u8],
    fresh: NodeId,
    now_ms: u64,
) -> Result<Accepted, TokenError> {
    let record = record.ok_or(TokenError::Unknown)?;
    if record.secret_hash.is_empty() || record.used_by.len() != record.nodes.len() {
        return Err(TokenError::Damaged);
    }
    // The secret before all else: only who holds it learns about expiry and uses.
    if !same(&record.secret_hash, secret_hash) {
        return Err(TokenError::Unknown);
    }
    let before = record.used_by.iter().zip(&record.nodes).find(|(used, _)| *used == key_hash);
    if let Some((_, node)) = before
        && now_ms < record.expires_at_ms.saturating_add(REPEAT_GRACE_MS)
    {
        return Ok(Accepted::Repeat { node: NodeId(*node) });
    }
    if now_ms >= record.expires_at_ms {
        return Err(TokenError::Expired);
    }
    let mut record = record.clone();
    record.uses_left = record.uses_left.checked_sub(1).ok_or(TokenError::UsedUp)?;
    record.used_by.push(Bytes::copy_from_slice(key_hash));
    record.nodes.push(fresh.0);
    Ok(Accepted::Fresh { node: fresh, record })
}

/// What may be shown of a token: everything but what could be used to guess its secret.
pub fn public(record: &TokenRecord) -> TokenRecord {
    TokenRecord { secret_hash: Bytes::new(), ..record.clone() }
}

/// Compares without saying by its timing where two hashes differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(uses_left: u32) -> TokenRecord {
        let secret_hash = Bytes::from_static(b"secret");
        TokenRecord {
            id: "t".to_owned(),
            secret_hash,
            expires_at_ms: 1_000,
            uses_left,
            ..TokenRecord::default()
        }
    }

    fn accept(record: &TokenRecord, key: &[u8], node: u64) -> TokenRecord {
        match consume(Some(record), b"secret", key, NodeId(node), 10) {
            Ok(Accepted::Fresh { node: given, record }) if given == NodeId(node) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_use_is_consumed_once_a_key() {
        let record = accept(&accept(&token(2), b"k1", 7), b"k2", 8);
        assert_eq!((record.uses_left, record.nodes.as_slice()), (0, &[7, 8][..]));
        // A repeat is harmless, also when no use is left, and gives the node id of the first time.
        let repeat = consume(Some(&record), b"secret", b"k1", NodeId(9), 10);
        assert_eq!(repeat, Ok(Accepted::Repeat { node: NodeId(7) }));
        assert_eq!(consume(Some(&record), b"secret", b"k3", NodeId(9), 10), Err(TokenError::UsedUp));
    }

    #[test]
    fn time_runs_out() {
        let record = accept(&token(2), b"k1", 7);
        assert_eq!(consume(Some(&record), b"secret", b"k2", NodeId(8), 1_000), Err(TokenError::Expired));
        let late = 1_000 + REPEAT_GRACE_MS;
        assert!(consume(Some(&record), b"secret", b"k1", NodeId(8), late - 1).is_ok());
        assert_eq!(consume(Some(&record), b"secret", b"k1", NodeId(8), late), Err(TokenError::Expired));
    }

    #[test]
    fn without_the_secret_nothing_is_learnt() {
        let record = accept(&token(1), b"k1", 7);
        for wrong in [&b""[..], b"secreu", b"secret ", b"s"] {
            assert_eq!(consume(Some(&record), wrong, b"k1", NodeId(8), 2_000), Err(TokenError::Unknown));
        }
        assert_eq!(consume(None, b"secret", b"k1", NodeId(8), 10), Err(TokenError::Unknown));
        assert!(public(&record).secret_hash.is_empty());
    }

    #[test]
    fn a_damaged_record_lets_nobody_in() {
        let no_secret = TokenRecord { secret_hash: Bytes::new(), ..token(1) };
        assert_eq!(consume(Some(&no_secret), b"", b"k", NodeId(1), 10), Err(TokenError::Damaged));
        let uneven = TokenRecord { used_by: vec![Bytes::from_static(b"k")], ..token(1) };
        assert_eq!(consume(Some(&uneven), b"secret", b"k", NodeId(1), 10), Err(TokenError::Damaged));
    }
}
