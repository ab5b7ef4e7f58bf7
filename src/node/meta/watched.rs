//! What the meta leader has seen of migrations under way, for people who watch them.
//!
//! In memory only: a new meta leader begins anew, and what matters is in the records. Knows nothing of those that have
//! ended, but for the last look at each.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::id::{MigrationId, ReplicaId};
use crate::model::job::{Reason, Step};
use crate::model::wire::{JobPhase, JobRecord, Migration};
use crate::net::wire::PlacementReply;

/// Migrations that are remembered.
const WATCHED_MAX: usize = 256;
/// How much a new look counts for the rate, beside all earlier ones.
const RATE_WEIGHT: f64 = 0.3;

/// What has been seen. Clones are one.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<BTreeMap<MigrationId, Seen>>>);

/// Of one migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The target is a member of the shard's group.
    pub joined: bool,
    pub bytes_done: u64,
    /// What there is to copy, as far as is known.
    pub bytes_total: u64,
    pub bytes_per_s: u64,
    /// What it waits for, if that is nothing it does itself.
    pub waits_for: Option<String>,
    /// The longest that a write has waited because of the cut-over.
    pub write_pause_us: u64,
    looked: Option<Instant>,
}

impl Watched {
    /// Takes in a look at a job. `stored_bytes`: what a replica of its shard holds.
    pub fn look(
        &self,
        job: &JobRecord,
        reply: Option<&PlacementReply>,
        step: &Step,
        stored_bytes: impl FnOnce() -> u64,
    ) {
        let Some(migration) = &job.migration else { return };
        let mut all = self.0.lock();
        let seen = all.entry(MigrationId(job.id)).or_default();
        seen.waits_for = foreign(step).map(|reason| reason.to_string());
        if let Some(reply) = reply {
            seen.copied(migration, reply, stored_bytes());
        }
        if all.len() > WATCHED_MAX {
            all.pop_first();
        }
    }

    /// A write has waited so long because of what was done for a job.
    pub fn paused(&self, job: &JobRecord, pause_us: u64) {
        let is_cut_over_now = job.phase() == JobPhase::JobPromote;
        if job.migration.as_ref().is_some_and(|migration| migration.cut_over_at_ms == 0 && is_cut_over_now) {
            let mut all = self.0.lock();
            let seen = all.entry(MigrationId(job.id)).or_default();
            seen.write_pause_us = seen.write_pause_us.max(pause_us);
        }
    }

    /// What was seen of a migration, if anything.
    pub fn of(&self, id: MigrationId) -> Option<Seen> {
        self.0.lock().get(&id).cloned()
    }
}

impl Seen {
    fn copied(&mut self, migration: &Migration, reply: &PlacementReply, stored_bytes: u64) {
        let target = ReplicaId(migration.target.as_ref().map_or(0, |target| target.replica));
        let members = reply.membership.iter().flat_map(|membership| &membership.members);
        self.joined = members.clone().any(|member| member.replica == target.0);
        let (done, total) = match reply.sent.iter().find(|sent| sent.replica == target.0) {
            Some(sent) => (sent.bytes, sent.file_bytes),
            // It gets all of it from the log.
            None => {
                let progress = reply.progress.iter().find(|of| of.replica == target.0);
                let matched_index = progress.map_or(0, |of| of.matched_index);
                let part = matched_index as f64 / reply.last_index.max(1) as f64;
                ((stored_bytes as f64 * part.min(1.0)) as u64, stored_bytes)
            }
        };
        let now = Instant::now();
        if let Some(last) = self.looked.filter(|last| *last < now) {
            let per_s = done.saturating_sub(self.bytes_done) as f64 / (now - last).as_secs_f64();
            let smooth = RATE_WEIGHT * per_s + (1.0 - RATE_WEIGHT) * self.bytes_per_s as f64;
            self.bytes_per_s = smooth as u64;
        }
        (self.bytes_done, self.bytes_total, self.looked) = (done, total, Some(now));
    }
}

/// What a job waits for that is not its own work.
fn foreign(step: &Step) -> Option<Reason> {
    match step {
        Step::Wait(Reason::CatchingUp { .. } | Reason::Verifying | Reason::Window { .. }) => None,
        Step::Wait(Reason::Paused | Reason::Uncommitted) => None,
        Step::Wait(reason) => Some(*reason),
        _ => None,
    }
}
