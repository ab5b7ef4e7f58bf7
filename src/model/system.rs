//! Names of the cluster's own records: the keys of the meta shard.
//!
//! Promises: a name parses back to what made it; ids are padded, so that a listing sorts by number. Does not say what
//! the values hold (see `map`, `token` and `proto/model.proto`).
//!
//! | key | value |
//! |---|---|
//! | `_/cluster/id` | the cluster's id, text |
//! | `_/cluster/config/<name>` | a setting, text |
//! | `_/cluster/next/<counter>` | the next id to hand out, decimal |
//! | `_/jobs/<shard>` | `JobRecord`: the one change of placement under way |
//! | `_/migrations/<job>` | `MigrationRecord`: a migration that is over |
//! | `_/nodes/<node>` | `NodeRecord` |
//! | `_/plans/<plan>` | `PlanRecord`: moves that are made together |
//! | `_/retired/<replica>` | nothing: that replica id is gone for good |
//! | `_/sealed/ca` | the CA's key; no read returns it |
//! | `_/shards/<shard>` | `ShardRecord` |
//! | `_/tokens/<id>` | `TokenRecord` |
//!
//! ## Invariants and what guards each
//!
//! - A name parses back, and has one spelling: guarded by `tests::names_parse_back`,
//!   `tests::a_number_has_one_spelling`, `tests::anything_else_is_not_parsed_and_does_not_panic`.
//! - No id is handed out twice: guarded by `tests::counters_never_hand_out_an_id_twice`.
//! - What is sealed or secret is not told: guarded by `tests::what_is_sealed_is_known`,
//!   `sim_node::secrets_of_the_cluster_are_not_read`.

use super::id::{MigrationId, NodeId, PlanId, ReplicaId, ShardId};
use super::key::{Key, KeyRange};

/// Longest setting or token name, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

const CLUSTER_ID: &str = "_/cluster/id";
const CONFIG: &str = "_/cluster/config/";
const NEXT: &str = "_/cluster/next/";
const JOBS: &str = "_/jobs/";
const MIGRATIONS: &str = "_/migrations/";
const NODES: &str = "_/nodes/";
const PLANS: &str = "_/plans/";
const RETIRED: &str = "_/retired/";
const SEALED: &str = "_/sealed/";
const SEALED_CA: &str = "_/sealed/ca";
const SHARDS: &str = "_/shards/";
const TOKENS: &str = "_/tokens/";
/// Digits of an id in a key: as many as the largest `u64` has.
const DIGITS: usize = 20;

/// What a system key names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemKey {
    ClusterId,
    Config(String),
    Next(Counter),
    Job(ShardId),
    Migration(MigrationId),
    Node(NodeId),
    Plan(PlanId),
    Retired(ReplicaId),
    SealedCa,
    Shard(ShardId),
    Token(String),
}

/// Ids the meta shard hands out, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    Node,
    Shard,
    Replica,
    Job,
}

/// A kind of record that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listing {
    Config,
    Jobs,
    Migrations,
    Nodes,
    Plans,
    Retired,
    Shards,
    Tokens,
}

/// Why something is not a counter's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a counter holds `{found}`, which is not a number that can be counted on from")]
pub struct CounterError {
    pub found: String,
}

impl SystemKey {
    /// The key itself. Names of settings and tokens must pass [`is_name`].
    pub fn key(&self) -> Key {
        let name = match self {
            SystemKey::ClusterId => CLUSTER_ID.to_owned(),
            SystemKey::Config(name) => format!("{CONFIG}{name}"),
            SystemKey::Next(counter) => format!("{NEXT}{}", counter.name()),
            SystemKey::Job(shard) => numbered(JOBS, shard.0),
            SystemKey::Migration(id) => numbered(MIGRATIONS, id.0),
            SystemKey::Node(node) => numbered(NODES, node.0),
            SystemKey::Plan(id) => numbered(PLANS, id.0),
            SystemKey::Retired(replica) => numbered(RETIRED, replica.0),
            SystemKey::SealedCa => SEALED_CA.to_owned(),
            SystemKey::Shard(shard) => numbered(SHARDS, shard.0),
            SystemKey::Token(id) => format!("{TOKENS}{id}"),
        };
        Key::from_name(name.as_bytes()).expect("a system key is neither empty nor long")
    }

    /// What `key` names; `None` for user keys and for records this program does not know.
    pub fn parse(key: &Key) -> Option<SystemKey> {
        let name = std::str::from_utf8(key.name()).ok().filter(|_| key.is_system())?;
        let number = |prefix: &str| name.strip_prefix(prefix).and_then(parse_number);
        let text = |prefix: &str| name.strip_prefix(prefix).filter(|rest| is_name(rest)).map(str::to_owned);
        match name {
            CLUSTER_ID => Some(SystemKey::ClusterId),
            SEALED_CA => Some(SystemKey::SealedCa),
            _ if name.starts_with(CONFIG) => text(CONFIG).map(SystemKey::Config),
            _ if name.starts_with(NEXT) => Counter::from_name(&name[NEXT.len()..]).map(SystemKey::Next),
            _ if name.starts_with(TOKENS) => text(TOKENS).map(SystemKey::Token),
            _ if name.starts_with(JOBS) => number(JOBS).map(|id| SystemKey::Job(ShardId(id))),
            _ if name.starts_with(MIGRATIONS) => {
                number(MIGRATIONS).map(|id| SystemKey::Migration(MigrationId(id)))
            }
            _ if name.starts_with(NODES) => number(NODES).map(|id| SystemKey::Node(NodeId(id))),
            _ if name.starts_with(PLANS) => number(PLANS).map(|id| SystemKey::Plan(PlanId(id))),
            _ if name.starts_with(RETIRED) => number(RETIRED).map(|id| SystemKey::Retired(ReplicaId(id))),
            _ if name.starts_with(SHARDS) => number(SHARDS).map(|id| SystemKey::Shard(ShardId(id))),
            _ => None,
        }
    }
}

impl Counter {
    /// What it is called in its key.
    pub fn name(self) -> &'static str {
        match self {
            Counter::Node => "node",
            Counter::Shard => "shard",
            Counter::Replica => "replica",
            Counter::Job => "job",
        }
    }

    fn from_name(name: &str) -> Option<Counter> {
        [Counter::Node, Counter::Shard, Counter::Replica, Counter::Job].into_iter().find(|c| c.name() == name)
    }
}

impl Listing {
    /// All keys of this kind.
    pub fn range(self) -> KeyRange {
        let prefix = match self {
            Listing::Config => CONFIG,
            Listing::Jobs => JOBS,
            Listing::Migrations => MIGRATIONS,
            Listing::Nodes => NODES,
            Listing::Plans => PLANS,
            Listing::Retired => RETIRED,
            Listing::Shards => SHARDS,
            Listing::Tokens => TOKENS,
        };
        KeyRange::with_prefix(prefix.as_bytes()).expect("a prefix is neither empty nor long")
    }
}

/// True for records that nothing outside the meta shard's members may ever see: reads, scans, logs, dumps, backups.
pub fn is_sealed(key: &Key) -> bool {
    key.is_system() && key.name().starts_with(SEALED.as_bytes())
}

/// True if `name` may be part of a key: 1 to 64 of `a-z 0-9 _ . -`.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(fits)
}

/// Takes `count` ids from a counter: the first of them, and the counter's new value. `stored` is `None` before the
/// first; ids start at 1.
///
/// # Errors
///
/// If the stored value is not a number from 1 up or the ids run out.
pub fn take_ids(stored: Option<&[u8]>, count: u64) -> Result<(u64, String), CounterError> {
    let text = stored.unwrap_or(b"1");
    let error =
        || CounterError { found: String::from_utf8_lossy(text).chars().take(NAME_MAX_BYTES).collect() };
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let first: u64 = number.filter(|first| *first > 0).ok_or_else(error)?;
    let next = first.checked_add(count).ok_or_else(error)?;
    Ok((first, next.to_string()))
}

fn numbered(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:0DIGITS$}")
}

fn parse_number(digits: &str) -> Option<u64> {
    // One spelling each: a record must not be found under two keys.
    let exact = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(id: u64, name: &str) -> Vec<SystemKey> {
        vec![
            SystemKey::ClusterId,
            SystemKey::Config(name.to_owned()),
            SystemKey::Next(Counter::Node),
            SystemKey::Next(Counter::Shard),
            SystemKey::Next(Counter::Replica),
            SystemKey::Next(Counter::Job),
            SystemKey::Job(ShardId(id)),
            SystemKey::Migration(MigrationId(id)),
            SystemKey::Node(NodeId(id)),
            SystemKey::Retired(ReplicaId(id)),
            SystemKey::SealedCa,
            SystemKey::Shard(ShardId(id)),
            SystemKey::Token(name.to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn names_parse_back(id in any::<u64>(), name in "[a-z0-9_.-]{1,64}") {
            for system in all(id, &name) {
                let key = system.key();
                prop_assert!(KeyRange::system().contains(&key));
                prop_assert_eq!(SystemKey::parse(&key), Some(system));
            }
        }

        #[test]
        fn listings_sort_by_number(a in any::<u64>(), b in any::<u64>()) {
            let (ka, kb) = (SystemKey::Shard(ShardId(a)).key(), SystemKey::Shard(ShardId(b)).key());
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert!(Listing::Shards.range().contains(&ka) && !Listing::Nodes.range().contains(&ka));
        }

        #[test]
        fn anything_else_is_not_parsed_and_does_not_panic(name in prop::collection::vec(any::<u8>(), 1..60)) {
            let named = [b"_/".as_slice(), &name].concat();
            if let Some(system) = SystemKey::parse(&Key::from_name(&named).unwrap()) {
                prop_assert_eq!(system.key().to_name(), named.clone());
            }
            prop_assert_eq!(SystemKey::parse(&Key::from_name(&name).unwrap()).is_some(), false);
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        for name in ["_/nodes/7", "_/nodes/+0000000000000000007", "_/nodes/99999999999999999999", "_/nodes/"]
        {
            assert_eq!(SystemKey::parse(&Key::from_name(name.as_bytes()).unwrap()), None, "{name}");
        }
    }

    #[test]
    fn what_is_sealed_is_known() {
        assert!(is_sealed(&SystemKey::SealedCa.key()));
        assert!(is_sealed(&Key::from_name(b"_/sealed/anything").unwrap()));
        assert!(!is_sealed(&SystemKey::Token("t".to_owned()).key()));
        assert!(!is_sealed(&Key::from_name(b"sealed/ca").unwrap()));
    }

    #[test]
    fn counters_never_hand_out_an_id_twice() {
        assert_eq!(take_ids(None, 3), Ok((1, "4".to_owned())));
        assert_eq!(take_ids(Some(b"4"), 1), Ok((4, "5".to_owned())));
        for bad in [&b""[..], b"0", b"-1", b"x", b"18446744073709551615", b"\xff"] {
            assert!(take_ids(Some(bad), 1).is_err(), "{bad:?}");
        }
    }
}
