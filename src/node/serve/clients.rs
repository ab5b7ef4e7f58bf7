//! What clients ask of this node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;
use tracing::Instrument;

use crate::model::evaluate::check;
use crate::model::id::{NodeId, ShardId};
use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::system::{SystemKey, is_sealed};
use crate::model::time::Timestamp;
use crate::model::wire::{NodeRecord, ShardRecord, operation};
use crate::net::transport::Peer;
use crate::net::trouble::{Bug, Point, planted, trouble};
use crate::net::wire::{self, Failure, FailureCode, Reply, Request, reply, request};
use crate::node::meta::admin::AdminError;
use crate::node::meta::records::MetaError;
use crate::node::raft::group::{ConfirmError, ProposeError};
use crate::node::replica::{PageWish, ReadError, ReadWish, Rejected, Replica};
use crate::node::request_counts::operation;
use crate::node::room::grows;

use super::Requests;

/// Longest a request may wait, whatever its client says.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How long a refusal waits until it can name a leader: as long as an election usually takes.
const LEADER_LIMIT: Duration = Duration::from_millis(500);
/// Rows in one page.
pub const PAGE_MAX_ROWS: usize = 4096;
/// Rows in one page where there is trouble.
const SMALL_PAGE_ROWS: usize = 2;
/// Bytes in one page; a single larger row still goes, alone.
pub const PAGE_MAX_BYTES: usize = 1 << 20;
/// Bytes of one write, keys and all. It must fit the log's records and the frames that carry it to the other replicas.
pub const WRITE_MAX_BYTES: usize = 17 << 20;

type Answered = Result<reply::Body, Failure>;

fn failure(code: FailureCode, message: impl ToString) -> Failure {
    Failure { code: code.into(), message: message.to_string(), ..Failure::default() }
}

impl Requests {
    /// Answers one request of a client.
    pub(super) async fn client(&self, peer: &Peer, body: Bytes) -> Reply {
        let _entered = match self.intake.enter(body.len()) {
            Ok(entered) => entered,
            Err(full) => {
                self.counts.overload.inc();
                return self.reply(Err(failure(FailureCode::FailureBusy, full)));
            }
        };
        let Ok(request) = Request::decode(body) else {
            self.counts.undecodable.inc();
            return self.reply(Err(failure(FailureCode::FailureInvalid, "the request cannot be read")));
        };
        let id = request.id;
        let span = tracing::debug_span!("request", id = format_args!("{id:016x}"), from = %peer);
        let timeout = Duration::from_millis(u64::from(request.timeout_ms)).min(TIMEOUT_MAX);
        let Some(body) = request.body else {
            self.counts.undecodable.inc();
            return self.reply(Err(failure(FailureCode::FailureInvalid, "an empty request")));
        };
        let (shard, proposes) =
            (shard_of(&body), matches!(&body, request::Body::Write(_) | request::Body::Admin(_)));
        let (operation, begin) = (operation(&body), Instant::now());
        let answered = tokio::time::timeout(timeout, self.serve(body)).instrument(span.clone()).await;
        let answered = answered.unwrap_or_else(|_| match proposes {
            true => Err(failure(FailureCode::FailureUnknown, "out of time while the change was under way")),
            false => Err(failure(FailureCode::FailureTimeout, "out of time")),
        });
        let answered = match answered {
            // Nothing was proposed, however long it takes to say where to go.
            Err(failure) if failure.code() == FailureCode::FailureNotLeader => {
                let limit = LEADER_LIMIT.min(timeout.saturating_sub(begin.elapsed()));
                Err(Box::pin(self.with_leader(shard, failure, limit)).await)
            }
            answered => answered,
        };
        if let Err(failure) = &answered {
            span.in_scope(|| tracing::debug!(code = failure.code().as_str_name(), failure.message, "failed"));
        }
        self.counts.answered(operation, begin.elapsed(), &answered);
        self.reply(answered)
    }

    /// The bytes of a reply; if too many large ones wait already, a refusal instead of what was only read.
    pub(super) fn kept(&self, reply: Reply) -> Bytes {
        let encoded = reply.encode_to_vec();
        // What was changed must be told.
        if matches!(reply.body, Some(reply::Body::Write(_) | reply::Body::Admin(_))) {
            return encoded.into();
        }
        drop(reply);
        self.intake.keep(encoded).unwrap_or_else(|full| {
            self.counts.overload.inc();
            self.reply(Err(failure(FailureCode::FailureBusy, full))).encode_to_vec().into()
        })
    }

    fn reply(&self, answered: Answered) -> Reply {
        let body = answered.unwrap_or_else(reply::Body::Failure);
        Reply { stamp: self.clock.highest_applied().0, body: Some(body) }
    }

    /// A refusal that names who leads, even if that is only about to be known: whoever is refused then need not look.
    async fn with_leader(&self, shard: ShardId, refusal: Failure, limit: Duration) -> Failure {
        let Some(replica) = self.shards.get(shard) else { return refusal };
        match replica.next_leader(limit).await {
            Some(leader) => not_leader(Some(leader)),
            None => refusal,
        }
    }

    async fn serve(&self, body: request::Body) -> Answered {
        // What is rare, or much work, is in a box, so that the futures of single keys are small.
        match body {
            request::Body::Get(get) => self.get(get).await,
            request::Body::Range(range) => Box::pin(self.range(range)).await,
            request::Body::Write(write) => self.write(write).await,
            request::Body::Map(map) => Box::pin(self.map(map.newest)).await,
            request::Body::Status(status) => self.status(status.cluster),
            request::Body::Digest(digest) => Box::pin(self.digest(ShardId(digest.shard))).await,
            request::Body::Admin(admin) => Box::pin(self.admin(admin)).await,
        }
    }

    fn shard(&self, shard: u64) -> Result<Arc<Replica>, Failure> {
        self.shards.get(ShardId(shard)).ok_or_else(|| Failure {
            map_version: self.view.now().map.version().0,
            ..failure(FailureCode::FailureWrongShard, format!("s{shard} is not on this node"))
        })
    }

    async fn get(&self, get: wire::Get) -> Answered {
        let key = Key::from_internal(get.key).map_err(invalid)?;
        if is_secret(&key) {
            return Err(failure(FailureCode::FailureForbidden, "this key is sealed"));
        }
        let replica = self.shard(get.shard)?;
        let found = replica.get(&key, wish(get.options)).await.map_err(|error| self.read_failure(error))?;
        Ok(reply::Body::Get(wire::GetReply { row: found.map(|version| row(&key, version)) }))
    }

    async fn range(&self, range: wire::Range) -> Answered {
        let start = Key::from_internal(range.start).map_err(invalid)?;
        let end = Some(range.end).filter(|end| !end.is_empty()).map(Key::from_internal);
        let page = PageWish {
            range: KeyRange::new(start, end.transpose().map_err(invalid)?),
            limit: match range.limit as usize {
                _ if trouble(Point::SmallPage) => SMALL_PAGE_ROWS,
                0 => PAGE_MAX_ROWS,
                limit => limit.min(PAGE_MAX_ROWS),
            },
            max_bytes: PAGE_MAX_BYTES,
            reverse: range.reverse,
        };
        let replica = self.shard(range.shard)?;
        let wish = wish(range.options);
        let (page, judged_at) = replica.range(page, wish).await.map_err(|error| self.read_failure(error))?;
        let visible = page.rows.into_iter().filter(|(key, _)| !is_secret(key));
        Ok(reply::Body::Range(wire::RangeReply {
            rows: visible.map(|(key, version)| row(&key, version)).collect(),
            next: page.next.map(|key| key.to_bytes()).unwrap_or_default(),
            at: wish.at.unwrap_or(judged_at).0,
        }))
    }

    async fn write(&self, request: wire::WriteRequest) -> Answered {
        let mut write =
            request.write.ok_or_else(|| failure(FailureCode::FailureInvalid, "a write of nothing"))?;
        if planted(Bug::RetryAppliedTwice) {
            write.identity = None;
        }
        check(&write).map_err(invalid)?;
        let limit = self.view.now().settings.value_max_bytes;
        let bytes = write.encoded_len();
        if bytes > WRITE_MAX_BYTES {
            let message = format!("a write of {bytes} bytes; at most {WRITE_MAX_BYTES} are allowed");
            return Err(failure(FailureCode::FailureInvalid, message));
        }
        for operation in &write.operations {
            if operation.key.first() == Some(&Key::FIRST.as_bytes()[0]) {
                let message = "keys that start with `_/` are the cluster's own";
                return Err(failure(FailureCode::FailureForbidden, message));
            }
            let Some(operation::Change::Put(put)) = &operation.change else { continue };
            if put.value.len() as u64 > limit {
                let message = format!("a value of {} bytes; at most {limit} are allowed", put.value.len());
                return Err(failure(FailureCode::FailureInvalid, message));
            }
        }
        let replica = self.shard(request.shard)?;
        // Whoever leads instead may have room.
        if grows(&write) && replica.group.leadership().here {
            self.room.check().map_err(|full| failure(FailureCode::FailureFull, full))?;
        }
        let pace = self.memory.pace().max(replica.store.split_pace());
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        if planted(Bug::EpochAtReceipt) && write.epoch != replica.store.state(|state| state.epoch) {
            return Err(failure(FailureCode::FailureWrongShard, "made for another epoch"));
        }
        let outcome = replica.write(write).await;
        if outcome.is_ok() && trouble(Point::LostAnswer) {
            return Err(failure(FailureCode::FailureUnknown, "the answer was lost"));
        }
        Ok(reply::Body::Write(outcome.map_err(|rejected| self.rejected(rejected))?))
    }

    async fn map(&self, newest: bool) -> Answered {
        if newest {
            self.confirm_meta().await?;
            self.office.see_all().await.map_err(|error| self.refused(error))?;
        }
        let cluster = self.view.now();
        let replicas = self.shards.all();
        let leaders = replicas.iter().filter_map(|replica| {
            let node = replica.group.leadership().node?;
            Some(wire::Leader { shard: replica.shard.0, node: node.0 })
        });
        Ok(reply::Body::Map(wire::MapReply {
            version: cluster.map.version().0,
            cluster_id: self.door.cluster_id.clone(),
            nodes: cluster.map.nodes().map(NodeRecord::from).collect(),
            shards: cluster.map.shards().map(ShardRecord::from).collect(),
            leaders: leaders.collect(),
        }))
    }

    fn status(&self, cluster: bool) -> Answered {
        let now = self.clock.now().0;
        if !cluster {
            return Ok(reply::Body::Status(wire::StatusReply { nodes: vec![self.reports.own()], now }));
        }
        let Some(term) = self.records.leading() else { return Err(self.not_meta_leader()) };
        let own = self.reports.own();
        let mut nodes = self.reports.all(term);
        nodes.retain(|node| node.node != own.node);
        nodes.push(own);
        nodes.sort_by_key(|node| node.node);
        Ok(reply::Body::Status(wire::StatusReply { nodes, now }))
    }

    fn not_meta_leader(&self) -> Failure {
        let leader = self.records.replica().ok().and_then(|meta| meta.group.leadership().node);
        not_leader(leader)
    }

    async fn digest(&self, shard: ShardId) -> Answered {
        let digest = self.shard(shard.0)?.store.digest().await;
        let digest = digest.map_err(|error| failure(FailureCode::FailureInternal, error))?;
        Ok(reply::Body::Digest(wire::DigestReply {
            applied_index: digest.applied.index,
            digest: Bytes::copy_from_slice(&digest.digest),
            keys: digest.keys,
        }))
    }

    async fn admin(&self, request: wire::AdminRequest) -> Answered {
        self.confirm_meta().await?;
        let answer = self.office.serve(request).await;
        answer.map(reply::Body::Admin).map_err(|error| self.refused(error))
    }

    /// Makes sure that this node leads the meta shard now: what is answered from the records is then no older than the
    /// question.
    async fn confirm_meta(&self) -> Result<(), Failure> {
        if self.records.leading().is_none() {
            return Err(self.not_meta_leader());
        }
        let meta = self.records.replica().map_err(|error| failure(FailureCode::FailureBusy, error))?;
        let round =
            meta.rounds.join().await.ok_or_else(|| failure(FailureCode::FailureBusy, "too many reads"))?;
        round.map(drop).map_err(|error| self.confirm_failure(error))
    }

    fn refused(&self, error: AdminError) -> Failure {
        match error {
            AdminError::Invalid(message) => failure(FailureCode::FailureInvalid, message),
            AdminError::NotFound(message) => failure(FailureCode::FailureNotFound, message),
            AdminError::Forbidden(message) => failure(FailureCode::FailureForbidden, message),
            AdminError::Busy(message) => failure(FailureCode::FailureBusy, message),
            AdminError::Meta(MetaError::Conflict) => {
                failure(FailureCode::FailureConflict, "others change the same records")
            }
            AdminError::Meta(MetaError::Rejected(rejected)) => self.rejected(rejected),
            AdminError::Meta(error) => failure(FailureCode::FailureInternal, error),
        }
    }

    fn read_failure(&self, error: ReadError) -> Failure {
        match error {
            ReadError::WrongShard => Failure {
                map_version: self.view.now().map.version().0,
                ..failure(FailureCode::FailureWrongShard, error)
            },
            ReadError::TooOld { .. } => failure(FailureCode::FailureTooOld, error),
            ReadError::Busy | ReadError::NoLeader => failure(FailureCode::FailureBusy, error),
            ReadError::Confirm(error) => self.confirm_failure(error),
            ReadError::Rejected(rejected) => self.rejected(rejected),
            ReadError::Clock(_) => failure(FailureCode::FailureInvalid, error),
            ReadError::Store(_) => failure(FailureCode::FailureInternal, error),
        }
    }

    fn rejected(&self, rejected: Rejected) -> Failure {
        match rejected {
            Rejected::Busy => failure(FailureCode::FailureBusy, rejected),
            Rejected::Clock(_) => failure(FailureCode::FailureInvalid, rejected),
            Rejected::Confirm(error) => self.confirm_failure(error),
            Rejected::Propose(ProposeError::NotLeader { node }) => not_leader(node),
            Rejected::Propose(ProposeError::NoRoom(_)) => failure(FailureCode::FailureFull, rejected),
            Rejected::Propose(ProposeError::Unknown | ProposeError::Stopped(_)) => {
                failure(FailureCode::FailureUnknown, rejected)
            }
        }
    }

    /// Nothing was proposed: the client may go elsewhere.
    fn confirm_failure(&self, error: ConfirmError) -> Failure {
        match error {
            ConfirmError::NotLeader { node } => not_leader(node),
            ConfirmError::NoQuorum => failure(FailureCode::FailureBusy, error),
            ConfirmError::Stopped(_) => not_leader(None),
        }
    }
}

/// Whose leader answers it.
fn shard_of(body: &request::Body) -> ShardId {
    match body {
        request::Body::Get(get) => ShardId(get.shard),
        request::Body::Range(range) => ShardId(range.shard),
        request::Body::Write(write) => ShardId(write.shard),
        request::Body::Digest(digest) => ShardId(digest.shard),
        request::Body::Map(_) | request::Body::Status(_) | request::Body::Admin(_) => ShardId::META,
    }
}

/// Sealed records, and those that hold the hash of a secret.
fn is_secret(key: &Key) -> bool {
    is_sealed(key) || matches!(SystemKey::parse(key), Some(SystemKey::Token(_)))
}

fn invalid(error: impl ToString) -> Failure {
    failure(FailureCode::FailureInvalid, error)
}

fn not_leader(node: Option<NodeId>) -> Failure {
    let leader_node = node.map_or(0, |node| node.0);
    Failure { leader_node, ..failure(FailureCode::FailureNotLeader, "another node leads this shard") }
}

fn wish(options: Option<wire::ReadOptions>) -> ReadWish {
    let options = options.unwrap_or_default();
    ReadWish {
        consistency: options.consistency(),
        at: (options.at != 0).then_some(Timestamp(options.at)),
        seen: Timestamp(options.seen),
    }
}

fn row(key: &Key, version: Version) -> wire::Row {
    wire::Row {
        key: key.to_bytes(),
        value: version.value.unwrap_or_default(),
        stamp: version.stamp.0,
        expires_at_ms: version.expires_at.map_or(0, Timestamp::ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::rpc::FRAME_MAX_BYTES;
    use crate::node::wal::WalOptions;

    #[test]
    fn the_largest_write_fits_the_log_and_the_wire() {
        // An entry that the log refuses stops the shard's replica: no client may be able to make one.
        let entry_bytes = WRITE_MAX_BYTES + (64 << 10);
        assert!(entry_bytes as u64 <= WalOptions::default().record_max_bytes());
        assert!(entry_bytes <= FRAME_MAX_BYTES);
    }
}
