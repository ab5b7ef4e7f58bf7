//! What the meta leader has seen of migrations under way, for people who watch them.
//!
//! In memory only: a new meta leader begins anew, and what matters is in the records. Knows nothing of those that have
//! ended, but for the last look at each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::id::{MigrationId, NodeId, ReplicaId};
use crate::model::job::{Reason, Step};
use crate::model::pacing::{Pacing, SAMPLES_MIN, bearable_us};
use crate::model::wire::{JobPhase, JobRecord, Migration};
use crate::net::wire::PlacementReply;

use super::felt::{Felt, Latencies};

/// Jobs that are remembered.
const WATCHED_MAX: usize = 256;
/// Seconds before a migration began whose requests are compared with those during it.
const BEFORE_S: usize = 10;
/// How often the rate of a copy is thought over: as often as nodes report.
const PACE_EVERY: Duration = Duration::from_secs(1);
/// How much a new look counts for the rate, beside all earlier ones.
const RATE_WEIGHT: f64 = 0.3;

/// What has been seen. Clones are one.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<BTreeMap<MigrationId, Seen>>>);

/// Of one job: mostly of migrations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The target is a member of the shard's group.
    pub joined: bool,
    pub bytes_done: u64,
    /// What there is to copy, as far as is known.
    pub bytes_total: u64,
    pub bytes_per_s: u64,
    /// What it waits for, if that is nothing it does itself.
    pub waits_for: Option<Reason>,
    /// The longest that a write has waited because of the cut-over.
    pub write_pause_us: u64,
    /// The 99th percentile of requests at the nodes that hold the shard, in microseconds, before it began, until its cut-over, and
    /// since then; 0: too few to tell.
    pub p99_before_us: u64,
    pub p99_during_us: u64,
    pub p99_after_us: u64,
    /// How fast it is copied, where clients are to be spared.
    pub pacing: Pacing,
    paced: Option<Instant>,
    looked: Option<Instant>,
    /// What nodes had told when it began, and when it was cut over.
    begin: Option<BTreeMap<NodeId, Latencies>>,
    cut_over: Option<BTreeMap<NodeId, Latencies>>,
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
        let mut all = self.0.lock();
        let seen = all.entry(MigrationId(job.id)).or_default();
        seen.waits_for = foreign(step);
        if let (Some(reply), Some(migration)) = (reply, &job.migration) {
            seen.copied(migration, reply, stored_bytes());
        }
        if all.len() > WATCHED_MAX {
            all.pop_first();
        }
    }

    /// What a job waits for, that is watched for nothing else.
    pub fn waits_for(&self, job: &JobRecord, reason: Option<Reason>) {
        let mut all = self.0.lock();
        all.entry(MigrationId(job.id)).or_default().waits_for = reason;
        if all.len() > WATCHED_MAX {
            all.pop_first();
        }
    }

    /// Takes in how long requests take at `nodes`. Returns how fast the shard may be copied, in bytes a second, where a 99th
    /// percentile of `keep_us` is to be kept; 0: nothing is to be kept.
    pub fn feel(&self, job: &JobRecord, felt: &Felt, nodes: &[NodeId], keep_us: u64) -> Option<u64> {
        let migration = job.migration.as_ref()?;
        let mut all = self.0.lock();
        let seen = all.entry(MigrationId(job.id)).or_default();
        seen.felt(migration, felt, nodes);
        if keep_us == 0 || migration.cut_over_at_ms != 0 {
            return None;
        }
        if seen.paced.is_none_or(|last| last.elapsed() >= PACE_EVERY) {
            let p99_us = told(&felt.lately(nodes, 1));
            let bearable_us = bearable_us(keep_us, seen.p99_before_us);
            seen.pacing =
                if seen.paced.is_none() { seen.pacing } else { seen.pacing.after(p99_us, bearable_us) };
            seen.paced = Some(Instant::now());
        }
        Some(seen.pacing.bytes_per_s)
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

    /// What each job waits for, of those that wait for what they do not do themselves; by their numbers.
    pub fn waits(&self) -> BTreeMap<u64, Reason> {
        let all = self.0.lock();
        all.iter().filter_map(|(id, seen)| Some((id.0, seen.waits_for?))).collect()
    }

    /// What was seen of a migration, if anything.
    pub fn of(&self, id: MigrationId) -> Option<Seen> {
        self.0.lock().get(&id).cloned()
    }
}

/// What can be said of so many requests.
fn told(latencies: &Latencies) -> Option<u64> {
    (latencies.count() >= SAMPLES_MIN).then(|| latencies.p99_us())
}

impl Seen {
    fn felt(&mut self, migration: &Migration, felt: &Felt, nodes: &[NodeId]) {
        let begin = self.begin.get_or_insert_with(|| {
            self.p99_before_us = told(&felt.lately(nodes, BEFORE_S)).unwrap_or(0);
            felt.counts(nodes)
        });
        if migration.cut_over_at_ms == 0 {
            self.p99_during_us = told(&felt.since(begin)).unwrap_or(0);
        } else {
            let cut_over = self.cut_over.get_or_insert_with(|| felt.counts(nodes));
            self.p99_after_us = told(&felt.since(cut_over)).unwrap_or(0);
        }
    }

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
