//! Plans that are carried out: what operators ask of them, and their next steps.
//!
//! A step is one change of records, conditioned on the plan's as it was seen; whoever leads next goes on from what is written.

use prost::Message;

use crate::model::id::{MigrationId, PlanId, ShardId};
use crate::model::plan::{self, Next, PLANS_MAX, Refusal, Stands};
use crate::model::system::{Counter, Listing, SystemKey};
use crate::model::wire::{JobRecord, MigrationEnd, MigrationRecord, PlanRecord, PlannedMove};
use crate::net::wire::{self, AdminReply};

use super::admin::{AdminError, Office};
use super::drive::{Driver, Round};
use super::records::{Change, MetaError};

impl Office {
    /// Begins to carry a plan out.
    pub(super) async fn plan_apply(&self, asked: &wire::PlanApply) -> Result<AdminReply, AdminError> {
        let (cluster, liveness) = self.heard()?;
        let (map, settings, now_ms) = (&cluster.map, &cluster.settings, self.clock.wall_ms());
        let plan = plan::begin(map, settings, &liveness, &asked.made_for, &asked.moves, now_ms)?;
        let (id, mut change) = self.records.take_ids(Change::default(), Counter::Job, 1)?;
        let known = self.records.list(Listing::Plans, PLANS_MAX)?;
        if let Some(oldest) = known.first().filter(|_| known.len() >= PLANS_MAX) {
            change = change.delete(&oldest.key, oldest.stamp);
        }
        let plan = PlanRecord { id, ..plan };
        let name = SystemKey::Plan(PlanId(id));
        self.records.commit(change.put(&name, plan.encode_to_vec(), None)).await?;
        tracing::info!(plan = %PlanId(id), moves = plan.moves.len(), "a plan begins");
        Ok(AdminReply { plans: vec![plan], ..AdminReply::default() })
    }

    /// All that are remembered, oldest first.
    pub(super) fn plan_list(&self) -> Result<AdminReply, AdminError> {
        let rows = self.records.list(Listing::Plans, PLANS_MAX)?.into_iter();
        let plans = rows.filter_map(|row| PlanRecord::decode(row.value).ok()).collect();
        Ok(AdminReply { plans, ..AdminReply::default() })
    }

    /// Begins nothing more of a plan.
    pub(super) async fn plan_stop(&self, id: PlanId) -> Result<AdminReply, AdminError> {
        let name = SystemKey::Plan(id);
        let (stored, seen) =
            self.records.read(&name)?.ok_or_else(|| AdminError::from(Refusal::NoPlan(id)))?;
        let plan = PlanRecord::decode(stored).map_err(|_| MetaError::Damaged(id.to_string()))?;
        let stopped = if plan.ended_at_ms == 0 { plan::stopped(&plan) } else { plan.clone() };
        if stopped != plan {
            self.records.commit(Change::default().put(&name, stopped.encode_to_vec(), Some(seen))).await?;
            tracing::info!(plan = %id, "a plan is stopped");
        }
        Ok(AdminReply { plans: vec![stopped], ..AdminReply::default() })
    }
}

impl Driver {
    /// Does the next step of the plan under way. Returns true if there is one.
    pub async fn carry_out(&self, round: &Round<'_>) -> Result<bool, MetaError> {
        let (map, settings) = (&round.cluster.map, &round.cluster.settings);
        let Some(seen) = plan::active(map) else { return Ok(false) };
        let name = SystemKey::Plan(PlanId(seen.id));
        let Some((stored, stamp)) = self.records.read(&name)? else { return Ok(true) };
        if stored != seen.encode_to_vec() {
            return Ok(true); // changed since this view; the next round sees it
        }
        let now_ms = self.clock.wall_ms();
        // The job first: it goes when the record of how it ended comes.
        let stands = |planned: &PlannedMove| match self.job_of(planned) {
            Ok(Some(job)) if plan::is_served(&job) => Stands::Served,
            Ok(Some(_)) | Err(_) => Stands::UnderWay,
            Ok(None) => self.ended(MigrationId(planned.migration)).map_or(Stands::Forgotten, Stands::Ended),
        };
        let (change, record) = match plan::next(seen, map, settings, round.liveness, stands, now_ms) {
            Next::Wait(None) => return Ok(true),
            Next::Wait(Some(because)) => {
                tracing::debug!(plan = %PlanId(seen.id), because, "a plan waits");
                return Ok(true);
            }
            Next::Close(job) => {
                let shard = ShardId(job.shard);
                let Some((stored, stamp)) = self.records.read(&SystemKey::Job(shard))? else {
                    return Ok(true);
                };
                // Somebody may have ordered otherwise since.
                if map.job(shard).is_some_and(|seen| seen.encode_to_vec() == stored) {
                    self.records.rewrite_job(&job, stamp).await?;
                }
                return Ok(true);
            }
            Next::Rewrite(record) => (Change::default(), record),
            Next::Begin { index, proposed } => {
                let (id, change) = self.records.take_ids(Change::default(), Counter::Job, 1)?;
                let (target, change) = self.records.take_replica(map, change)?;
                let job = proposed.job(id, target, settings.undo_window_ms, now_ms);
                let mut record = seen.clone();
                record.moves[index].migration = id;
                (self.records.begin_job(change, map, &job)?, record)
            }
        };
        self.records.commit(change.put(&name, record.encode_to_vec(), Some(stamp))).await?;
        if record.ended_at_ms != 0 {
            tracing::info!(plan = %PlanId(record.id), stopped = record.stopped, "a plan is over");
        }
        Ok(true)
    }

    /// The job that makes a move, if it is under way.
    fn job_of(&self, planned: &PlannedMove) -> Result<Option<JobRecord>, MetaError> {
        let stored = self.records.read(&SystemKey::Job(ShardId(planned.shard)))?;
        let job = stored.and_then(|(value, _)| JobRecord::decode(value).ok());
        Ok(job.filter(|job| job.id == planned.migration))
    }

    fn ended(&self, id: MigrationId) -> Option<MigrationEnd> {
        let (value, _) = self.records.read(&SystemKey::Migration(id)).ok()??;
        Some(MigrationRecord::decode(value).ok()?.end())
    }
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> AdminError {
        let text = refusal.to_string();
        match refusal {
            Refusal::Empty | Refusal::TooLong(_) | Refusal::Twice(_) => AdminError::Invalid(text),
            Refusal::NoPlan(_) => AdminError::NotFound(text),
            Refusal::Changed | Refusal::Another(_) | Refusal::Move { .. } => AdminError::Forbidden(text),
        }
    }
}
