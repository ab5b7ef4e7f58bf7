//! # A cluster as a value
//!
//! A [`Client`] is made from the address of any member and from then on is the cluster: it knows all members and which
//! shard holds which key, keeps one pipelined connection to each member it needs, follows leaders and shards wherever they
//! go, and repeats what failed until it is answered or its time is up.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nodenomad::client::{Cas, Client, Expected, Options, RangeQuery};
//! use nodenomad::model::key::KeyRange;
//! use nodenomad::net::{chance::Chance, exec::Exec, transport::{Address, Transport}};
//! use futures_util::TryStreamExt;
//!
//! # async fn run(transport: Arc<dyn Transport>) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoints = vec![Address("one.example:7300".to_owned()), Address("two.example:7300".to_owned())];
//! let client = Client::connect(Options::new(transport, endpoints, Exec::Threads, Chance::system())).await?;
//!
//! client.put(b"/greeting", "hello").await?;
//! let value = client.get(b"/greeting").await?.expect("it was just put");
//! assert_eq!(value.value, "hello");
//!
//! assert_eq!(client.incr(b"/visits", 1).await?, 1);
//! match client.cas(b"/greeting", Expected::Stamp(value.stamp), "good day").await? {
//!     Cas::Done { stamp } => println!("written at {stamp}"),
//!     Cas::Failed { found } => println!("somebody was first: {found:?}"),
//! }
//!
//! let mut rows = client.range(RangeQuery::new(KeyRange::with_prefix(b"/")?));
//! while let Some(row) = rows.try_next().await? {
//!     println!("{} = {}", row.key.escape_ascii(), row.value.escape_ascii());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## Invariants and what guards each
//!
//! - An operation ends within its time-out (10 s unless told otherwise) as done, failed (nothing changed, and nothing
//!   will) or unknown. Unknown is never called failed: guarded by
//!   `tests::writes::one_attempt_in_doubt_makes_all_later_failures_unknown`,
//!   `tests::writes::definite_failures_until_the_end_changed_nothing`,
//!   `tests::writes::a_forgotten_client_in_doubt_says_unknown`, `course::tests::doubt_stays`.
//! - Nothing that is repeated in here is applied twice: guarded by
//!   `tests::writes::a_counter_under_random_losses_is_exact`,
//!   `tests::writes::a_copy_that_comes_late_after_the_answer_does_nothing`,
//!   `tests::writes::a_split_under_a_write_in_doubt_loses_and_repeats_nothing`,
//!   `tests::writes::lowest_awaited_rises_only_past_answered_writes`.
//! - Single-key operations are linearizable unless a weaker read is asked for: guarded by
//!   `sim_cluster::a_leader_left_alone_answers_nothing_stale`, `sim_cluster::one_dead_node_stops_nobody`.
//! - A `session` read sees at least what this client has seen; a `stale` one whatever the replica has: guarded by
//!   `tests::reads::weaker_reads_stay_near_and_session_reads_say_what_was_seen`,
//!   `sim_node::a_session_read_sees_what_its_client_has_seen`.
//! - It goes on working as long as the shards do, whichever member it first met; its map never goes back: guarded by
//!   `tests::reads::the_endpoint_may_die`, `tests::reads::an_old_map_never_replaces_a_newer_one`,
//!   `tests::writes::the_leader_is_found_by_hint_and_by_turns`.
//! - Memory and load are bounded: writes under way ([`IN_FLIGHT_MAX`]), pieces of a batch, rows of a page, attempts by
//!   growing pauses with jitter: guarded by `tests::writes::writes_under_way_are_bounded`,
//!   `tests::batches::a_batch_goes_in_bounded_writes_to_its_shards`,
//!   `tests::writes::two_members_that_point_at_each_other_do_not_make_a_storm`,
//!   `course::tests::redirects_without_a_pause_are_bounded_and_pauses_end_at_the_deadline`.
//!
//! Relies on: a transport that proves who is at the other end; `CallError::NotSent` meaning just that; servers that answer
//! "nothing changed" only when that is so. Does not: keep anything on disk, know the command line, do transactions, cache
//! values.
//!
//! ## A write, from its first copy to its answer
//!
//! A write carries an identity: the client's random number, a sequence, the highest server timestamp the client held when
//! it first tried, and the lowest sequence the client still waits for. All copies of one write carry the same. A shard
//! remembers the outcome of every *applied* write until its client no longer waits for it.
//!
//! | what an attempt met | what is known | what follows |
//! |---|---|---|
//! | not sent; NOT_LEADER, WRONG_SHARD, BUSY, TIMEOUT | this copy changed nothing and never will | again, elsewhere or by a new map |
//! | connection lost, no answer in time, UNKNOWN, an answer that cannot be read | this copy may be applied, also later | **doubt**; again, same identity |
//! | outcome *applied* | done, by this copy or an earlier one, once | answered |
//! | outcome *condition failed* or a number refused | nothing changed, and no copy will change anything | answered |
//! | outcome *wrong epoch*, *out of bounds*, *stale stamp* | this copy changed nothing | again, by a new map |
//! | outcome *forgotten* | this copy was not evaluated | without doubt: again with a new identity; else unknown |
//! | INVALID, FORBIDDEN, ... | this copy changed nothing | the error, or unknown if there is doubt |
//!
//! **Doubt never goes away but by an outcome.** A copy that was sent and not answered may sit in a queue of a member that
//! is about to lead again. That another copy was sent elsewhere says nothing about it.
//!
//! **Why outcomes settle it.** The shard judges every copy by the table first. Whichever copy is evaluated first, its
//! outcome is remembered, applied or failed; all others, before and after the answer, get that outcome and change nothing.
//! When the client no longer waits, `lowest_awaited` passes the sequence, the shard drops the row, and any later copy is
//! *superseded*. (A long value found by a failed condition is not remembered; a repeat of that is answered unknown.)
//!
//! **Why a client that waits never meets *superseded*.** A shard's `lowest_awaited` of a client is one that an identity of
//! this client carried. An identity is made under a lock, in one step with becoming awaited, and carries the least awaited
//! sequence, itself included. Take a sequence still awaited: identities made before it carry at most their own, lower
//! sequence; those made since carry at most it. So no shard's mark lies above it. Two clients with one number would break
//! this; the number is 64 random bits.
//!
//! **Why it is not forgotten unnoticed.** See `model::repeat`: a shard answers *forgotten* when the identity's timestamp is
//! older than what it has evicted. To be met by it in doubt, a client must be thrown out in the midst of a retry. To keep
//! first attempts clear of it, a timestamp is taken on connecting and after [`IDLE_MS`] without an answer.
//!
//! **Why shards never refuse the window.** A sequence waits to be given until it is less than `WINDOW_MAX` above the
//! lowest awaited. So one stuck write lets a few thousand others pass and then holds the rest until its own time is up.
//!
//! **A write of many keys whose shard is split meanwhile** goes on as a write of its first keys, those of one shard, with
//! the same identity. The outcome has a result for each operation applied, so it tells whether it is that of the whole (an
//! earlier copy was applied, before the split) or of the part. What is left is a new write. Epochs make this right: a copy
//! routed by the map before the split can no longer be applied after it.
//!
//! ## Reads, and whom to ask
//!
//! Linearizable reads and writes go to the shard's leader: whoever answered last, or was named by NOT_LEADER, or else each
//! voter in turn. Weaker reads go to the member first met if it has a replica, else to all in turn. A member that did not
//! answer is *suspect* until it answers anything: it is asked after the others and waited for less. An attempt waits 2 s,
//! then twice as long each time; the operation's whole time is the bound of all.
//!
//! A map is fetched when a shard is not where the map says, when a member is not known, and after every third miss; many
//! who want it share one fetch, and it never goes back to an older version. If no member known answers, the endpoints given
//! at first are tried again.
pub mod error;
pub mod map;
mod session;
mod pool;
mod course;
mod cluster;
mod routed;
mod write;
mod kv;
mod batch;
mod range;
mod admin;

pub use batch::{BatchOperation, BatchSummary, Batcher};
pub use cluster::{IDLE_MS, Options};
pub use error::{Error, ErrorOutcome, Trouble};
pub use kv::{Cas, Client, Consistency, Expected, PutOptions, ReadOptions, Value};
pub use map::ClusterMap;
pub use range::{RangeQuery, RangeStream, Row};
pub use session::IN_FLIGHT_MAX;

#[cfg(test)]
mod tests;
