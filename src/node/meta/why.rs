//! Answers to operators who wonder why: the rules' sentences ([`crate::model::why`]), with what was heard and seen.

use std::collections::BTreeMap;

use prost::Message;

use crate::model::id::{MigrationId, NodeId, ShardId};
use crate::model::system::SystemKey;
use crate::model::why::Facts;
use crate::model::wire::MigrationRecord;
use crate::net::wire::{AdminReply, MigrationStatus, WhyGet, why_get::What};

use super::admin::{AdminError, Office};
use super::led::leaders;
use super::migrations::over;
use super::records::MetaError;

impl Office {
    /// Says why.
    pub(super) async fn why_get(&self, asked: &WhyGet) -> Result<AdminReply, AdminError> {
        let (cluster, liveness) = self.heard()?;
        let term = self.records.leading().ok_or(MetaError::NotHere)?;
        let statuses = self.reports.statuses(term);
        let mut leaders: BTreeMap<ShardId, NodeId> =
            leaders(&statuses).into_iter().map(|(shard, seen)| (shard, seen.leader)).collect();
        if let Some(What::Shard(id)) = asked.what
            && let Some(shard) = cluster.map.shard(ShardId(id))
        {
            // What nodes report is a moment old; of the one shard that is asked about it is asked.
            leaders.remove(&shard.id);
            leaders.extend(self.steps.leader(shard).await.map(|leader| (shard.id, leader)));
        }
        let facts = Facts {
            map: &cluster.map,
            settings: &cluster.settings,
            liveness: &liveness,
            leaders,
            waits: self.watched.waits(),
            now_ms: self.clock.wall_ms(),
        };
        let absent = |what: String| AdminError::NotFound(format!("there is no {what}"));
        let mut sentences = match asked.what {
            None => return Err(AdminError::Invalid("why what?".to_owned())),
            Some(What::Shard(id)) => {
                facts.shard(ShardId(id)).ok_or_else(|| absent(format!("shard {}", ShardId(id))))?
            }
            Some(What::Node(id)) => {
                facts.node(NodeId(id)).ok_or_else(|| absent(format!("node {}", NodeId(id))))?
            }
            Some(What::Migration(id)) => match cluster.map.jobs().find(|job| job.id == id) {
                Some(job) => facts.job(job),
                None => self.ended(MigrationId(id))?,
            },
        };
        if let Some(What::Shard(id)) = asked.what {
            sentences.extend(self.sizer.told(ShardId(id)));
        }
        Ok(AdminReply { sentences, ..AdminReply::default() })
    }

    /// How a migration ended that is not under way.
    fn ended(&self, id: MigrationId) -> Result<Vec<String>, AdminError> {
        let stored = self.records.read(&SystemKey::Migration(id))?;
        let absent = || AdminError::NotFound(format!("there is no migration {id}"));
        let (value, _) = stored.ok_or_else(absent)?;
        let record = MigrationRecord::decode(value).map_err(|_| MetaError::Damaged(id.to_string()))?;
        let MigrationStatus { shard, source_node, target_node, state, reason, .. } = over(&record);
        let (shard, from, to) = (ShardId(shard), NodeId(source_node), NodeId(target_node));
        let because = if reason.is_empty() { String::new() } else { format!(", because {reason}") };
        Ok(vec![match state.as_str() {
            "done" => format!("{id} has moved {shard} from {from} to {to}, and is over."),
            "undone" => format!("{id} had moved {shard} from {from} to {to}, and was undone."),
            "rolled_back" => {
                format!("{id} was to move {shard} from {from} to {to}, and left it where it was{because}.")
            }
            _ => format!(
                "{id} was to move {shard} from {from} to {to}, and failed{because}. Look at nomad why shard {shard}."
            ),
        }])
    }
}
