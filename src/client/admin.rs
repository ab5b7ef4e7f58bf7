//! Questions about the cluster itself, and orders to it.
//!
//! Promises: what belongs to the meta shard goes to its leader; what is asked of one member goes to that member. An order
//! that changes something carries no identity, so after an attempt that may have arrived it is not repeated: the answer is
//! then [`Error::Unknown`].
//! Does not: interpret the answers.

use std::sync::Arc;

use tokio::time::Instant;

use super::course::{Course, Nature};
use super::error::Error;
use super::kv::{self, Client};
use super::map::ClusterMap;
use super::routed::Aim;
use crate::model::id::{NodeId, ShardId};
use crate::net::transport::Address;
use crate::net::wire::{
    AdminReply, AdminRequest, DigestReply, DigestRequest, MapRequest, StatusReply, StatusRequest,
    admin_request, reply, request,
};

impl Client {
    /// The shard map held now.
    pub fn map(&self) -> Arc<ClusterMap> {
        self.0.map()
    }

    /// Fetches the map from any member and returns the newer of it and the one held.
    pub async fn refresh(&self) -> Result<Arc<ClusterMap>, Error> {
        let deadline = Instant::now() + self.0.timeout;
        self.0.fetch_map(0, None, deadline).await.map_err(Error::Unreachable)?;
        Ok(self.map())
    }

    /// The map as it is: no older than this question. Only the meta leader can say that.
    pub async fn newest_map(&self) -> Result<Arc<ClusterMap>, Error> {
        let ask = request::Body::Map(MapRequest { newest: true });
        match self.ask_meta(Nature::Read, ask).await? {
            (node, reply::Body::Map(map)) => {
                self.0.adopt(node, map).map_err(Error::Unreachable)?;
                Ok(self.map())
            }
            (node, _) => Err(kv::garbled(node)),
        }
    }

    /// All members and where they are, in order of their ids.
    pub fn members(&self) -> Vec<(NodeId, Address)> {
        self.map().members().map(|(node, member)| (node, member.address.clone())).collect()
    }

    /// Who led a shard when last heard of.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.0.leader(shard)
    }

    /// Everything the meta leader has heard of all members.
    pub async fn status(&self) -> Result<StatusReply, Error> {
        let ask = request::Body::Status(StatusRequest { cluster: true });
        match self.ask_meta(Nature::Read, ask).await? {
            (_, reply::Body::Status(status)) => Ok(status),
            (node, _) => Err(kv::garbled(node)),
        }
    }

    /// What one member knows about itself.
    pub async fn node_status(&self, node: NodeId) -> Result<StatusReply, Error> {
        let mut course = Course::new(Nature::Read, self.0.timeout);
        let ask = request::Body::Status(StatusRequest { cluster: false });
        match self.0.directed(&mut course, node, ask).await? {
            reply::Body::Status(status) => Ok(status),
            _ => Err(kv::garbled(node)),
        }
    }

    /// The content digest of a member's replica of a shard.
    pub async fn digest(&self, node: NodeId, shard: ShardId) -> Result<DigestReply, Error> {
        let mut course = Course::new(Nature::Read, self.0.timeout);
        let ask = request::Body::Digest(DigestRequest { shard: shard.0 });
        match self.0.directed(&mut course, node, ask).await? {
            reply::Body::Digest(digest) => Ok(digest),
            _ => Err(kv::garbled(node)),
        }
    }

    /// Gives an order to the meta leader, or reads its records.
    pub async fn admin(&self, body: admin_request::Body) -> Result<AdminReply, Error> {
        let nature = match &body {
            admin_request::Body::TokenList(_)
            | admin_request::Body::MetaGet(_)
            | admin_request::Body::MigrationList(_)
            | admin_request::Body::PlanGet(_)
            | admin_request::Body::PlanList(_)
            | admin_request::Body::WhyGet(_) => Nature::Read,
            admin_request::Body::TokenNew(_)
            | admin_request::Body::TokenRevoke(_)
            | admin_request::Body::ConfigSet(_)
            | admin_request::Body::NodeOrder(_)
            | admin_request::Body::MigrationBegin(_)
            | admin_request::Body::MigrationOrder(_)
            | admin_request::Body::PlanApply(_)
            | admin_request::Body::PlanStop(_)
            | admin_request::Body::ShardSplit(_)
            | admin_request::Body::ShardMerge(_)
            | admin_request::Body::LeadSet(_) => Nature::Once,
        };
        let ask = request::Body::Admin(AdminRequest { body: Some(body) });
        match self.ask_meta(nature, ask).await? {
            (_, reply::Body::Admin(answer)) => Ok(answer),
            (node, _) if nature == Nature::Read => Err(kv::garbled(node)),
            (node, _) => Err(Error::Unknown(kv::garbled(node).trouble().clone())),
        }
    }

    async fn ask_meta(&self, nature: Nature, ask: request::Body) -> Result<(NodeId, reply::Body), Error> {
        let mut course = Course::new(nature, self.0.timeout);
        let find = |map: &ClusterMap| map.shard(ShardId::META).cloned();
        let answer = self.0.routed(&mut course, Aim::Leader, find, |_| ask.clone()).await?;
        Ok((answer.node, answer.body))
    }
}
