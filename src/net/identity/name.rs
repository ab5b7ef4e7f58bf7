//! The names in certificates: `nodenomad://CLUSTER/...`.
//!
//! Promises: `parse` accepts exactly what `uri` writes. Does not look at certificates.

use super::{IdentityError, Peer};
use crate::model::id::NodeId;

/// The DNS name in every member's certificate; what a dialer asks TLS to check.
pub const SERVER_NAME: &str = "node.nodenomad";
/// Bound on cluster ids and client names, bytes.
pub const NAME_MAX_BYTES: usize = 64;

const SCHEME: &str = "nodenomad://";

/// Whom a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The authority itself.
    Authority,
    /// A member or a client; never a stranger.
    Peer(Peer),
}

/// Checks a cluster id or client name.
pub fn check(name: &str) -> Result<(), IdentityError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    // What is refused may be anything: quote it, and not at length.
    let name = name.escape_debug().take(NAME_MAX_BYTES).collect();
    Err(IdentityError::Name { name })
}

/// The URI that names somebody. Names must have passed [`check`].
pub fn uri(cluster_id: &str, named: &Named) -> String {
    match named {
        Named::Authority => format!("{SCHEME}{cluster_id}/authority"),
        Named::Peer(Peer::Node(NodeId(id))) => format!("{SCHEME}{cluster_id}/node/{id}"),
        Named::Peer(Peer::Client(name)) => format!("{SCHEME}{cluster_id}/client/{name}"),
        Named::Peer(Peer::Stranger) => unreachable!("strangers have no certificate"),
    }
}

/// The cluster and whom the URI names; `None` if it is not one of ours.
pub fn parse(text: &str) -> Option<(String, Named)> {
    let (cluster_id, path) = text.strip_prefix(SCHEME)?.split_once('/')?;
    let named = match path.split_once('/') {
        None if path == "authority" => Named::Authority,
        Some(("node", id)) => Named::Peer(Peer::Node(NodeId(id.parse().ok()?))),
        Some(("client", name)) => Named::Peer(Peer::Client(name.to_owned())),
        _ => return None,
    };
    if let Named::Peer(Peer::Client(name)) = &named {
        check(name).ok()?;
    }
    check(cluster_id).ok()?;
    // Only the one spelling: `node/+7` and `node/007` are nobody.
    (uri(cluster_id, &named) == text).then(|| (cluster_id.to_owned(), named))
}
