//! Letting another replica of a shard lead: because somebody says so, or because its node leads too much.
//!
//! Nothing is recorded: who leads is what the shard itself decides, and a hand-over that does not come about leaves things as they
//! were. What was handed over lately is remembered in memory; a new meta leader begins with an empty memory, and with as empty a
//! picture of who is asked how much, which takes as long to become clear.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::leadership::{self, HandOver, Led, Refusal, STAYS_MS};
use crate::model::map::ClusterMap;
use crate::model::placement::TARGET_SILENT_MAX_MS;
use crate::net::wire::{self, AdminReply, LeadReply, PlacementReply, PlacementStep, placement_step::Step};
use crate::node::replica::HAND_OVER;

use super::admin::{AdminError, Office};
use super::drive::Round;
use super::led::leaders;
use super::records::MetaError;
use super::reports::Reports;
use super::steps::Steps;

/// Between two hand-overs because of load: what the last one has changed is to be seen first.
const BALANCE_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether an heir leads.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Office {
    /// Lets a shard be led from a node. Asked again it does nothing.
    pub(super) async fn lead_set(&self, asked: wire::LeadSet) -> Result<AdminReply, AdminError> {
        let (shard, node) = (ShardId(asked.shard), NodeId(asked.node));
        let (cluster, liveness) = self.heard()?;
        let heir = leadership::heir(&cluster.map, &liveness, shard, node)?;
        let leader = self.leader_of(&cluster.map, shard).await?;
        let mut leader = leader.ok_or_else(|| AdminError::Busy(format!("nobody leads {shard} just now")))?;
        let mut write_pause_us = 0;
        // What nodes report is a moment old.
        if leads(&self.steps.ask(node, hand_over(shard, heir)).await, heir) {
            leader = node;
        } else {
            let voters = cluster.map.shard(shard).into_iter().flat_map(|known| known.voters());
            let others = voters
                .map(|voter| voter.node)
                .filter(|of| ![leader, node].contains(of) && liveness.silent_ms(*of) <= TARGET_SILENT_MAX_MS);
            let ask: Vec<NodeId> = [leader, node].into_iter().chain(others).collect();
            write_pause_us = until_it_leads(&self.steps, shard, &ask, heir).await?;
        }
        let lead = LeadReply { before: leader.0, write_pause_us };
        Ok(AdminReply { lead: Some(lead), ..AdminReply::default() })
    }

    /// Who leads a shard by what nodes have reported, or, if none has, by what its voters say now.
    pub(super) async fn leader_of(
        &self,
        map: &ClusterMap,
        shard: ShardId,
    ) -> Result<Option<NodeId>, MetaError> {
        let term = self.records.leading().ok_or(MetaError::NotHere)?;
        let reported = leaders(&self.reports.statuses(term)).get(&shard).map(|seen| seen.leader);
        Ok(match (reported, map.shard(shard)) {
            (None, Some(known)) => self.steps.leader(known).await,
            _ => reported,
        })
    }
}

/// Has whoever leads a shard hand it over until the heir leads: others may win the election that a hand-over is. Returns the
/// longest that a write waited for it, in microseconds.
async fn until_it_leads(
    steps: &Steps,
    shard: ShardId,
    nodes: &[NodeId],
    heir: ReplicaId,
) -> Result<u64, AdminError> {
    let begin = Instant::now();
    let mut write_pause_us = 0;
    while begin.elapsed() < HAND_OVER {
        for node in nodes {
            let reply = steps.ask(*node, hand_over(shard, heir)).await;
            write_pause_us = reply.as_ref().map_or(0, |reply| reply.write_pause_us).max(write_pause_us);
            if leads(&reply, heir) {
                return Ok(write_pause_us);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(AdminError::Busy(format!("{heir} has not taken {shard} over in time")))
}

/// True if somebody who knows says that the heir leads.
fn leads(reply: &Option<PlacementReply>, heir: ReplicaId) -> bool {
    reply.as_ref().is_some_and(|reply| reply.failure.is_none() && reply.leader == heir.0)
}

fn hand_over(shard: ShardId, heir: ReplicaId) -> PlacementStep {
    PlacementStep { shard: shard.0, step: Some(Step::HandOver(heir.0)), ..PlacementStep::default() }
}

/// Spreads the work of leading.
#[derive(Default)]
pub struct Balancer(Mutex<Lately>);

#[derive(Default)]
struct Lately {
    last: Option<Instant>,
    /// Shards that were handed over, and when.
    given: BTreeMap<ShardId, Instant>,
}

impl Balancer {
    /// Does one hand-over, if one is due and worth it.
    pub async fn balance(&self, round: &Round<'_>, reports: &Reports, steps: &Steps) {
        let Some(given) = self.next(round, reports) else { return };
        let HandOver { shard, from, to, heir } = given;
        // Who leads then is seen when nodes report.
        let _ = steps.ask(from, hand_over(shard, heir)).await;
        tracing::info!(%shard, %from, %to, "leadership goes where there is less to do");
    }

    fn next(&self, round: &Round<'_>, reports: &Reports) -> Option<HandOver> {
        let mut lately = self.0.lock();
        if round.cluster.settings.balance_leaders == 0
            || lately.last.is_some_and(|last| last.elapsed() < BALANCE_EVERY)
        {
            return None;
        }
        lately.last = Some(Instant::now());
        lately.given.retain(|_, at| at.elapsed() < Duration::from_millis(STAYS_MS));
        let map = &round.cluster.map;
        let led: Vec<Led> = reports.felt(round.term, |felt| {
            let all = leaders(round.statuses).into_iter();
            let led = all.map(|(shard, seen)| Led {
                shard,
                leader: seen.leader,
                per_s: felt.per_s(seen.leader, shard, ReplicaId(seen.status.replica)),
                // A job may want its leader elsewhere; the leader of the meta shard would forget all it has seen.
                stays: shard == ShardId::META
                    || lately.given.contains_key(&shard)
                    || map.job(shard).is_some(),
            });
            led.collect()
        });
        let given = leadership::lighten(map, round.liveness, &led)?;
        lately.given.insert(given.shard, Instant::now());
        Some(given)
    }
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> AdminError {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoShard(_) | Refusal::NoNode(_) => AdminError::NotFound(text),
            Refusal::NotThere { .. } | Refusal::Learner { .. } => AdminError::Invalid(text),
            Refusal::Silent { .. } | Refusal::Damaged { .. } => AdminError::Forbidden(text),
        }
    }
}
