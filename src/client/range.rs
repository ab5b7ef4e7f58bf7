//! Rows of a range of keys, as a stream, over all shards it touches.
//!
//! Promises: rows come in order of their keys (or against it), each key at most once, every key that was there all the
//! while exactly once. With `at`, the whole range is shown at that one timestamp. A page is asked for when the one before it
//! has been consumed, so memory is bounded by a page.
//!
//! Does not: without `at`, show one moment. Each page is as fresh as the consistency asks for when it is fetched, so a row
//! that changes while the stream is read may be shown before or after the change, and two rows written by one write may
//! be shown one old, one new. With [`Consistency::Stale`](super::kv::Consistency) a later page may even be older than an
//! earlier one. Each page may take the client's whole time-out.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

use super::course::{Course, Nature};
use super::error::{Error, Trouble};
use super::kv::{self, Client, ReadOptions};
use super::map::{ClusterMap, Route};
use crate::model::id::NodeId;
use crate::model::key::{Key, KeyRange};
use crate::model::time::Timestamp;
use crate::net::wire::{self as net, reply, request};

/// Rows in one page, at most; fewer if they fill a frame.
pub const PAGE_ROWS_MAX: u32 = 4096;

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    pub range: KeyRange,
    /// At most so many rows; `None`: all.
    pub limit: Option<u64>,
    /// From the last key down.
    pub reverse: bool,
    pub options: ReadOptions,
}

/// One key and what it holds. Key and value share the memory of the page they came with: who keeps few of many rows for
/// long copies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As people call it, without the keyspace.
    pub key: Bytes,
    pub value: Bytes,
    pub stamp: Timestamp,
    pub expires_at_ms: Option<u64>,
}

/// The rows of a range. After an error it ends.
pub struct RangeStream(BoxStream<'static, Result<Row, Error>>);

/// What is still to be shown.
struct Walk {
    client: Client,
    query: RangeQuery,
    left: KeyRange,
    rows_left: Option<u64>,
}

impl RangeQuery {
    /// All rows of a range, the newest, in order.
    pub fn new(range: KeyRange) -> RangeQuery {
        RangeQuery { range, limit: None, reverse: false, options: ReadOptions::default() }
    }
}

impl Client {
    /// The rows of a range.
    pub fn range(&self, query: RangeQuery) -> RangeStream {
        let (left, rows_left) = (query.range.clone(), query.limit);
        let walk = Walk { client: self.clone(), query, left, rows_left };
        let pages = stream::try_unfold(walk, |mut walk| async move {
            let page = walk.page().await?;
            let rows = page.map(|rows| stream::iter(rows.into_iter().map(Ok::<Row, Error>)));
            Ok::<_, Error>(rows.map(|rows| (rows, walk)))
        });
        RangeStream(pages.try_flatten().boxed())
    }
}

impl Stream for RangeStream {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl Walk {
    /// The next rows, at least one; `None` at the end.
    async fn page(&mut self) -> Result<Option<Vec<Row>>, Error> {
        while !self.left.is_empty() && self.rows_left != Some(0) {
            let mut course = Course::new(Nature::Read, self.client.0.timeout);
            let options = Some(self.client.read_options(&self.query.options));
            let limit = self.rows_left.map_or(PAGE_ROWS_MAX, |left| left.min(PAGE_ROWS_MAX.into()) as u32);
            let make = |route: &Route| {
                let part = self.left.intersection(&route.range);
                let end = part.end.as_ref().map(Key::to_bytes).unwrap_or_default();
                let (shard, start, reverse) = (route.shard.0, part.start.to_bytes(), self.query.reverse);
                request::Body::Range(net::Range { shard, start, end, limit, reverse, options })
            };
            let find = |map: &ClusterMap| self.find(map).cloned();
            let answer = self.client.0.routed(&mut course, kv::aim(options), find, make).await?;
            let reply::Body::Range(page) = answer.body else { return Err(kv::garbled(answer.node)) };
            let rows = self.take(answer.node, &answer.route, page)?;
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    fn find<'m>(&self, map: &'m ClusterMap) -> Option<&'m std::sync::Arc<Route>> {
        match self.query.reverse {
            false => map.route(&self.left.start),
            true => map.route_below(self.left.end.as_ref()),
        }
    }

    /// Checks a page and moves on past it.
    fn take(&mut self, node: NodeId, route: &Route, page: net::RangeReply) -> Result<Vec<Row>, Error> {
        let wrong = |what| Error::Internal(Trouble::Garbled { node, what });
        let asked = self.left.intersection(&route.range);
        if self.rows_left.is_some_and(|left| page.rows.len() as u64 > left) {
            return Err(wrong("more rows than asked for"));
        }
        let mut last: Option<Key> = None;
        let mut rows = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            let key = Key::from_internal(row.key.clone()).map_err(|_| wrong("a row without a key"))?;
            let in_order =
                last.as_ref().is_none_or(|last| (*last < key) != self.query.reverse && *last != key);
            if !asked.contains(&key) || !in_order {
                return Err(wrong("a row out of place"));
            }
            let name = key.to_name();
            let kv::Value { value, stamp, expires_at_ms } = kv::value_of(row);
            rows.push(Row { key: name, value, stamp, expires_at_ms });
            last = Some(key);
        }
        let next = Some(page.next).filter(|next| !next.is_empty()).map(Key::from_internal).transpose();
        let next = next.map_err(|_| wrong("it goes on at no key"))?;
        self.advance(&asked, last, next).map_err(wrong)?;
        self.rows_left = self.rows_left.map(|left| left - rows.len() as u64);
        Ok(rows)
    }

    /// What is left after a page of `asked` that ended with `last` and says to go on at `next`.
    fn advance(
        &mut self,
        asked: &KeyRange,
        last: Option<Key>,
        next: Option<Key>,
    ) -> Result<(), &'static str> {
        match (self.query.reverse, next) {
            (false, Some(next)) => {
                if next <= asked.start || !asked.contains(&next) || last.is_some_and(|last| next <= last) {
                    return Err("it goes on at a key behind");
                }
                self.left.start = next;
            }
            (true, Some(next)) => {
                let onward = asked.contains(&next) || asked.end.as_ref() == Some(&next);
                let stuck = asked.end.as_ref() == Some(&next) && last.is_none();
                if !onward || stuck || last.is_some_and(|last| next > last) {
                    return Err("it goes on below a key behind");
                }
                self.left.end = Some(next);
            }
            (false, None) => match &asked.end {
                Some(end) => self.left.start = end.clone(),
                None => self.left.end = Some(self.left.start.clone()), // nothing is left
            },
            (true, None) => self.left.end = Some(asked.start.clone()),
        }
        Ok(())
    }
}
