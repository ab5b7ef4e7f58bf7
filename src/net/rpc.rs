//! Calls and streams of frames above any [`crate::net::transport`].
//!
//! Every stream begins with one byte that says what it is, then come payloads: `u32` length, that many bytes (all
//! numbers little-endian).
//!
//! | first byte | the dialer writes | the other side writes |
//! |---|---|---|
//! | 1, calls | any number of frames, bodies up to [`INLINE_MAX_BYTES`] | a frame for each, in any order |
//! | 2, one call | one frame, body up to [`FRAME_MAX_BYTES`] | one frame |
//! | 3, stream | `u16` kind and head, then payloads | payloads |
//!
//! A frame is a payload of `u64` call id, `u16` kind, body. A reply has the id and kind of its call and is up to
//! [`FRAME_MAX_BYTES`] long, on either kind of stream. A stream of payloads ends with the length `0xFFFF_FFFF`: without it,
//! the end is a break, so that half a scan is never taken for a whole one.
//!
//! ## Invariants and what guards each
//!
//! - Small calls reach the service in the order in which [`Caller::call`] was first polled. Large ones overtake and are
//!   overtaken: guarded by `tests::calls_enter_in_order_and_answers_come_when_they_are_ready`.
//! - [`CallError::NotSent`] means that the service will never see the call; [`CallError::Lost`] that nobody knows:
//!   guarded by `tests::a_cut_loses_what_was_sent_and_only_that`,
//!   `tests::a_call_given_up_before_it_was_sent_is_never_sent`,
//!   `tests::a_large_call_that_was_not_written_whole_was_not_sent`, `tests::a_death_in_the_middle_of_a_call_loses_it`.
//! - No memory is taken for a length that was announced, only for bytes that came: guarded by
//!   `tests::memory_is_taken_only_for_bytes_that_came`.
//! - Everything that waits is counted and bounded ([`ServeLimits`], [`CALLS_IN_FLIGHT_MAX`],
//!   [`CALLS_QUEUED_MAX_BYTES`]): guarded by `tests::the_server_stops_reading_above_its_limit`,
//!   `tests::what_waits_is_bounded_in_bytes`, `tests::calls_given_up_free_their_places`.
//! - What breaks these rules is cut off: guarded by `tests::garbage_costs_the_connection`,
//!   `tests::whoever_takes_no_answers_is_cut_off`, `tests::too_many_bytes_of_answers_cut_the_connection_off`,
//!   `tests::an_answer_to_no_call_costs_the_connection`.
//! - Half a stream is never taken for a whole one: guarded by `tests::half_a_stream_is_not_a_whole_one`.
//!
//! Does not: time calls out (drop the future; the call goes on at the other side), retry, route, know any message.
//! Bodies share the memory of what was read with them: whoever keeps a small part for long copies it.

mod counts;
mod frame;
mod stream;
mod caller;
mod output;
mod serve;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::net::transport::{Class, Connection};

pub use caller::Caller;
pub use counts::ServeCounts;
pub use serve::serve;
pub use stream::{FrameStream, open_stream};

/// Body of a frame, at most.
pub const FRAME_MAX_BYTES: usize = 20 * 1024 * 1024;
/// Body of a call that shares a stream with others; larger ones get one of their own.
pub const INLINE_MAX_BYTES: usize = 256 * 1024;
/// Calls of one [`Caller`] without an answer, at most.
pub const CALLS_IN_FLIGHT_MAX: usize = 8 * 1024;
/// Bodies that one [`Caller`] has accepted and not handed to the transport, at most.
pub const CALLS_QUEUED_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Large calls of one [`Caller`] on their way at once; more wait.
pub const LARGE_CALLS_MAX: usize = 8;

/// How a call came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The other side never saw it and never will: it can be made again.
    #[error("the call was not sent")]
    NotSent(#[source] Arc<io::Error>),
    /// It was sent and the connection broke: perhaps it was done.
    #[error("the connection broke before the answer came")]
    Lost(#[source] Arc<io::Error>),
    /// Not sent; it never can be.
    #[error("a call of {bytes} bytes is above the limit of {FRAME_MAX_BYTES}")]
    TooLarge { bytes: usize },
    /// Not sent: too much is waiting for this connection.
    #[error("too many calls are waiting for this connection")]
    Busy,
}

/// What answers at the other side. One is shared by all connections.
pub trait Service: Send + Sync + 'static {
    /// Answers a call. The future is polled once before the next frame is read, so what it does up to its first wait is
    /// done in order. It is run to its end even if the caller goes.
    fn call(&self, from: &Arc<dyn Connection>, kind: u16, body: Bytes) -> BoxFuture<'static, Bytes>;

    /// Handles a stream that the other side opened.
    fn stream(
        &self,
        from: &Arc<dyn Connection>,
        kind: u16,
        head: Bytes,
        frames: FrameStream,
    ) -> BoxFuture<'static, ()>;
}

/// What one connection may make us hold.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Calls begun and not answered to the transport; beyond it nothing more is read.
    pub calls_in_flight: usize,
    /// Large calls read or answered at once.
    pub large_calls: usize,
    /// Streams open at once.
    pub streams: usize,
    /// Body of a large call, and each payload of a stream.
    pub frame_max_bytes: usize,
    /// While this much of answers is unread by the other side, no call is read.
    pub output_pause_bytes: usize,
    /// With more than this the connection is closed.
    pub output_max_bytes: usize,
    /// An answer of which nothing was taken for so long closes the connection.
    pub stall_ms: u64,
    /// The connection is closed after this time; 0: never.
    pub lifetime_ms: u64,
}

impl ServeLimits {
    /// For connections of this class.
    pub fn for_class(class: Class) -> ServeLimits {
        let usual = ServeLimits {
            calls_in_flight: 4 * 1024,
            large_calls: 4,
            streams: 256,
            frame_max_bytes: FRAME_MAX_BYTES,
            output_pause_bytes: 16 * 1024 * 1024,
            output_max_bytes: 256 * 1024 * 1024,
            stall_ms: 10_000,
            lifetime_ms: 0,
        };
        match class {
            Class::Control | Class::Append | Class::Bulk => usual,
            Class::Client => ServeLimits { calls_in_flight: 1024, large_calls: 2, streams: 64, ..usual },
            Class::Join => ServeLimits {
                calls_in_flight: 1,
                large_calls: 1,
                streams: 2,
                frame_max_bytes: 16 * 1024,
                lifetime_ms: 30_000,
                ..usual
            },
        }
    }
}
