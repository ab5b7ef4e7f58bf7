//! The Raft log of one replica: openraft's view of its group in the node's write-ahead log.
//!
//! What openraft relies on, and where it comes from: a vote is on disk when `save_vote` returns; an append is readable when
//! `append` returns and on disk when its callback says so; all of a group's operations reach the disk in the order in
//! which they were made (one queue, see [`crate::node::wal`]).

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::net::trouble::{Point, trouble};
use crate::node::wal::{Admitted, GroupLog, LogPoint, NoHeadroom, Record, WalError};

use super::counts::RaftCounts;
use super::types::{
    Entry, LogId, Types, Vote, decode_entry, encode_entry, log_id, vote_from_wire, vote_to_wire,
};

/// Bytes of entries read at once, for replication and for applying.
const READ_MAX_BYTES: usize = 4 << 20;

/// Shared; cheap to clone.
#[derive(Clone)]
pub struct Log(GroupLog, Arc<RaftCounts>);

impl Log {
    pub fn new(group: GroupLog, counts: Arc<RaftCounts>) -> Log {
        Log(group, counts)
    }

    /// Leave to append so many bytes.
    pub fn admit(&self, bytes: u64) -> Result<Admitted, NoHeadroom> {
        self.0.admit(bytes)
    }
}

fn point(id: &LogId) -> LogPoint {
    LogPoint { term: id.leader_id.term, index: id.index }
}

fn to_io(error: WalError) -> io::Error {
    io::Error::other(error)
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let end = end.min(self.0.state().last.map_or(0, |last| last.index + 1));
        let mut entries = Vec::new();
        let mut next = start;
        while next < end {
            let records = self.0.read(next..end, READ_MAX_BYTES).map_err(to_io)?;
            if records.is_empty() {
                break;
            }
            next = records[records.len() - 1].point.index + 1;
            for record in records {
                entries.push(decode_entry(record.bytes)?);
            }
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let max_bytes = if trouble(Point::SmallAppend) { 1 } else { READ_MAX_BYTES };
        let records = self.0.read(start..end, max_bytes).map_err(to_io)?;
        records.into_iter().map(|record| decode_entry(record.bytes)).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.state().vote.as_ref().map(vote_from_wire))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.0.state();
        let id = |point: LogPoint| log_id(point.term, point.index);
        Ok(LogState { last_purged_log_id: state.purged.map(id), last_log_id: state.last.map(id) })
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = vote_to_wire(vote);
        self.1.saves_vote(self.0.id().0, &vote);
        self.0.save_vote(vote).await.map_err(to_io)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<Record> = entries
            .into_iter()
            .map(|entry| Record { point: point(&entry.log_id), bytes: encode_entry(&entry) })
            .collect();
        self.0.append(records, Box::new(|result| callback.io_completed(result))).await.map_err(to_io)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last.as_ref().map(point)).await.map_err(to_io)
    }

    async fn purge(&mut self, up_to: LogId) -> io::Result<()> {
        self.0.purge(point(&up_to)).await.map_err(to_io)
    }
}
