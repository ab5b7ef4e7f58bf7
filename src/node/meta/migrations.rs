//! What operators ask of migrations: to begin one, to have it go another way, to know how all of them stand.
//!
//! An order is one compare-and-set of the job's record; whoever drives the job finds it there. Does not move anything.

use prost::Message;

use crate::model::id::{MigrationId, ReplicaId};
use crate::model::migration::{self, KEPT_MAX, KEPT_MS, Order, Refusal, Stage, Wish};
use crate::model::system::{Counter, Listing, SystemKey};
use crate::model::time::Timestamp;
use crate::model::wire::{Course, JobPhase, JobRecord, Migration, MigrationEnd, MigrationRecord};
use crate::net::wire::{self, AdminReply, MigrationOrderKind, MigrationStatus};

use super::admin::{AdminError, Office};
use super::nodes::wish;
use super::records::Change;
use super::watched::Seen;

/// Jobs looked through; the cluster has far fewer at a time.
const JOBS_LISTED_MAX: usize = 10_000;

impl Office {
    /// Begins a move. Asked again while it is under way, it says that it is.
    pub(super) async fn migration_begin(
        &self,
        asked: &wire::MigrationBegin,
    ) -> Result<AdminReply, AdminError> {
        let wish = wish(asked);
        let (cluster, liveness) = self.heard()?;
        let settings = &cluster.settings;
        let jobs = self.migrating()?;
        if let Some((job, stamp)) = jobs.into_iter().find(|(job, _)| job.shard == asked.shard) {
            if is_it(&job, wish) {
                return Ok(told(self.under_way(&job)));
            }
            if is_ending(&job) {
                // Where its replicas are is about to change: what is wished for may be possible then.
                return Err(AdminError::Busy(format!("{} is about to end", MigrationId(job.id))));
            }
            // What would be refused anyway must not take anybody's undo away.
            migration::check(&cluster.map, settings, &liveness, wish)?;
            self.close_window(&job, stamp).await?;
        }
        let plan = migration::begin(&cluster.map, settings, &liveness, wish)?;
        let (id, change) = self.records.take_ids(Change::default(), Counter::Job, 1)?;
        let (target, change) = match plan.proposal().add {
            Some(_) => self.records.take_replica(&cluster.map, change)?,
            None => (ReplicaId(0), change),
        };
        let job = plan.job(id, target, settings.undo_window_ms, self.clock.wall_ms());
        self.records.commit(self.records.begin_job(change, &cluster.map, &job)?).await?;
        tracing::info!(shard = %wish.shard, migration = %MigrationId(id), to = %wish.to, "a migration begins");
        Ok(told(self.under_way(&job)))
    }

    /// A migration that only waits for somebody to undo it makes way.
    pub(super) async fn close_window(&self, job: &JobRecord, seen: Timestamp) -> Result<(), AdminError> {
        let Ok(kept) = migration::ordered(job, Order::Keep, self.clock.wall_ms()) else { return Ok(()) };
        if kept != *job {
            self.records.rewrite_job(&kept, seen).await?;
        }
        let id = MigrationId(job.id);
        Err(AdminError::Busy(format!("{id} could still be undone; now its source is removed")))
    }

    pub(super) async fn migration_order(
        &self,
        asked: &wire::MigrationOrder,
    ) -> Result<AdminReply, AdminError> {
        let id = MigrationId(asked.id);
        let order = match asked.order() {
            MigrationOrderKind::OrderPause => Order::Pause,
            MigrationOrderKind::OrderResume => Order::Resume,
            MigrationOrderKind::OrderCancel => Order::Cancel,
            MigrationOrderKind::OrderUndo => Order::Undo,
            MigrationOrderKind::OrderUnspecified => {
                return Err(AdminError::Invalid("an order that this node does not know".to_owned()));
            }
        };
        let jobs = self.migrating()?;
        let Some((job, stamp)) = jobs.into_iter().find(|(job, _)| job.id == id.0) else {
            let over = self.records.read(&SystemKey::Migration(id))?;
            return Err(match over {
                Some(_) => AdminError::Forbidden(format!("{id} is over")),
                None => AdminError::NotFound(format!("there is no migration {id}")),
            });
        };
        let changed = migration::ordered(&job, order, self.clock.wall_ms())?;
        if changed != job {
            self.records.rewrite_job(&changed, stamp).await?;
            tracing::info!(migration = %id, ?order, "an order");
        }
        Ok(told(self.under_way(&changed)))
    }

    /// The migrations under way, as the records have them now: the view may be a moment behind.
    fn migrating(&self) -> Result<Vec<(JobRecord, Timestamp)>, AdminError> {
        let rows = self.records.list(Listing::Jobs, JOBS_LISTED_MAX)?.into_iter();
        let jobs = rows.filter_map(|row| Some((JobRecord::decode(row.value).ok()?, row.stamp)));
        Ok(jobs.filter(|(job, _)| job.migration.is_some()).collect())
    }

    /// All that are under way or ended within a day, oldest first.
    pub(super) fn migration_list(&self) -> Result<AdminReply, AdminError> {
        let now_ms = self.clock.wall_ms();
        let ended = self.records.list(Listing::Migrations, KEPT_MAX + 1)?.into_iter();
        let ended = ended.filter_map(|row| MigrationRecord::decode(row.value).ok());
        let young = |record: &MigrationRecord| now_ms.saturating_sub(record.ended_at_ms) <= KEPT_MS;
        let mut all: Vec<MigrationStatus> = ended.filter(young).map(|record| over(&record)).collect();
        all.extend(self.migrating()?.iter().map(|(job, _)| self.under_way(job)));
        all.sort_by_key(|status| status.id);
        // One that ended between the two readings.
        all.dedup_by_key(|status| status.id);
        Ok(AdminReply { migrations: all, ..AdminReply::default() })
    }

    fn under_way(&self, job: &JobRecord) -> MigrationStatus {
        let migration = job.migration.clone().unwrap_or_default();
        let seen = self.watched.of(MigrationId(job.id)).unwrap_or_default();
        let is_over = migration.cut_over_at_ms != 0;
        let spent_ms = self.clock.wall_ms().saturating_sub(migration.cut_over_at_ms);
        let window_is_open =
            is_over && matches!(migration.course(), Course::Forward | Course::Paused | Course::Back);
        let left_ms = migration.undo_window_ms.saturating_sub(spent_ms);
        let (bytes_done, bytes_total) = match is_over {
            true => (migration.bytes, migration.bytes),
            false => (seen.bytes_done, seen.bytes_total),
        };
        MigrationStatus {
            stage: Stage::of(job.phase(), seen.joined).to_string(),
            state: state(job.phase(), &migration, &seen).to_owned(),
            bytes_done,
            bytes_total,
            bytes_per_s: if is_over { 0 } else { seen.bytes_per_s },
            write_pause_us: migration.write_pause_us.max(seen.write_pause_us),
            reason: reason(&migration, &seen),
            started_at_ms: job.started_at_ms,
            undo_left_ms: if window_is_open { left_ms } else { 0 },
            p99_before_us: migration.p99_before_us.max(seen.p99_before_us),
            p99_during_us: if is_over { migration.p99_during_us } else { seen.p99_during_us },
            p99_after_us: seen.p99_after_us,
            ..named(job.id, job.shard, &migration)
        }
    }
}

/// True if a job goes back to where everything was.
fn is_ending(job: &JobRecord) -> bool {
    let course = job.migration.as_ref().map(|migration| migration.course());
    matches!(course, Some(Course::Undo | Course::Back))
}

/// True if a job is the very move that is wished for.
fn is_it(job: &JobRecord, wish: Wish) -> bool {
    let Some(migration) = &job.migration else { return false };
    let to = migration.target.as_ref().is_some_and(|target| target.node == wish.to.0);
    let from =
        migration.source.as_ref().is_some_and(|source| wish.from.is_none_or(|from| from.0 == source.node));
    to && from && !matches!(migration.course(), Course::Back | Course::Undo)
}

fn told(status: MigrationStatus) -> AdminReply {
    AdminReply { migrations: vec![status], ..AdminReply::default() }
}

fn named(id: u64, shard: u64, migration: &Migration) -> MigrationStatus {
    MigrationStatus {
        id,
        shard,
        source_node: migration.source.as_ref().map_or(0, |source| source.node),
        target_node: migration.target.as_ref().map_or(0, |target| target.node),
        keep_p99_us: migration.keep_p99_us,
        p99_before_us: migration.p99_before_us,
        p99_during_us: migration.p99_during_us,
        p99_after_us: migration.p99_after_us,
        ..MigrationStatus::default()
    }
}

fn state(phase: JobPhase, migration: &Migration, seen: &Seen) -> &'static str {
    let served = matches!(phase, JobPhase::JobRemove | JobPhase::JobDone);
    match migration.course() {
        Course::Undo if served => "undone",
        Course::Forward | Course::Paused | Course::Back | Course::Keep if served => "done",
        Course::Paused => "paused",
        _ if seen.waits_for.is_some() => "waiting",
        _ => "running",
    }
}

fn reason(migration: &Migration, seen: &Seen) -> String {
    match migration.course() {
        Course::Back if migration.because.is_empty() => "it was cancelled".to_owned(),
        Course::Back => migration.because.clone(),
        _ => seen.waits_for.map_or_else(String::new, |waits| waits.to_string()),
    }
}

/// How one that is over came out.
pub(super) fn over(record: &MigrationRecord) -> MigrationStatus {
    let migration = record.migration.clone().unwrap_or_default();
    let (state, reason) = match record.end() {
        MigrationEnd::EndDone => ("done", String::new()),
        MigrationEnd::EndUndone => ("undone", String::new()),
        MigrationEnd::EndRolledBack => ("rolled_back", reason(&migration, &Seen::default())),
        MigrationEnd::EndFailed | MigrationEnd::EndUnspecified => {
            ("failed", "the shard's members are not those it was made for".to_owned())
        }
    };
    MigrationStatus {
        stage: Stage::of(record.phase(), true).to_string(),
        state: state.to_owned(),
        bytes_done: migration.bytes,
        bytes_total: migration.bytes,
        write_pause_us: migration.write_pause_us,
        reason,
        started_at_ms: record.started_at_ms,
        ended_at_ms: record.ended_at_ms,
        ..named(record.id, record.shard, &migration)
    }
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> AdminError {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoShard(_) | Refusal::NoNode(_) | Refusal::NotUnderWay(_) => AdminError::NotFound(text),
            Refusal::There { .. } | Refusal::NotThere { .. } | Refusal::Unclear { .. } => {
                AdminError::Invalid(text)
            }
            Refusal::Votes { .. } | Refusal::NoVote { .. } => AdminError::Invalid(text),
            Refusal::Reelected { .. } => AdminError::Forbidden(text),
            Refusal::NoRoom { .. } | Refusal::Together { .. } | Refusal::Drains { .. } => {
                AdminError::Forbidden(text)
            }
            Refusal::NoMember { .. } | Refusal::Silent { .. } | Refusal::NoQuorum { .. } => {
                AdminError::Forbidden(text)
            }
            Refusal::Moving(..) | Refusal::CutOver(_) | Refusal::NotCutOver(_) => AdminError::Forbidden(text),
            Refusal::GoingBack(_) | Refusal::WindowOver(_) | Refusal::TooMany => AdminError::Forbidden(text),
            // The cluster's own jobs are short: the same again a little later.
            Refusal::Busy { .. } => AdminError::Busy(text),
        }
    }
}
