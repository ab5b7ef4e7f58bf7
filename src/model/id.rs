//! Names of things: small numbers that the meta shard hands out and never hands out twice.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            /// Accepts the bare number and the form that is printed.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($letter).unwrap_or(text).parse().map($name)
            }
        }
    };
}

id!(
    /// A member of the cluster: a process with a data directory. From 1.
    NodeId,
    "n"
);
id!(
    /// A range of keys with a Raft group of its own. 0 is the meta shard.
    ShardId,
    "s"
);
id!(
    /// One placement of a shard on a node, and that group's Raft member id. Fresh for every placement.
    ReplicaId,
    "r"
);
id!(
    /// A move of one replica that somebody asked for; the id of its job.
    MigrationId,
    "m"
);

id!(
    /// Moves that are made together; numbered as jobs are.
    PlanId,
    "p"
);

/// Nodes as people read them: `n1 n2`.
pub fn listed(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

impl ShardId {
    /// The shard that holds the cluster's own records.
    pub const META: ShardId = ShardId(0);
}
