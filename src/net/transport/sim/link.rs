//! One connection between two ends, and its streams.
//!
//! End 0 dialed, end 1 accepted. A flow is named by the end that writes it. Poll functions answer `Err` with the time at
//! which to look again, having stored the waker for everything that is not time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Class, IDLE, Peer, STREAM_BUFFER_MAX_BYTES};

pub(super) struct Link {
    pub(super) class: Class,
    pub(super) ends: [End; 2],
    /// References to each end.
    pub(super) handles: [usize; 2],
    /// Since when at least one direction is blocked or one process dead.
    pub(super) silent_since: Option<Instant>,
    /// When and why each end learns that the connection is gone.
    ended: [Option<(Instant, String)>; 2],
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    /// Streams that each end has not accepted yet, and from when it can.
    opened: [VecDeque<(Instant, u64)>; 2],
    /// Whoever waits for a stream or for the end.
    wakers: Vec<Waker>,
}

pub(super) struct End {
    pub(super) address: String,
    pub(super) incarnation: u64,
    pub(super) peer: Peer,
    pub(super) addr: SocketAddr,
}

struct Stream {
    opener: usize,
    announced: bool,
    /// By the end that writes.
    flows: [Flow; 2],
}

/// One direction of a stream.
#[derive(Default)]
struct Flow {
    chunks: VecDeque<(Instant, Bytes)>,
    buffered_bytes: usize,
    last_at: Option<Instant>,
    finished_at: Option<Instant>,
    /// The writer went without finishing.
    reset_at: Option<Instant>,
    writer_gone: bool,
    /// The reader went; nobody wants these bytes.
    stopped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Link {
    pub(super) fn new(class: Class, ends: [End; 2]) -> Link {
        Link {
            class,
            ends,
            handles: [0, 0],
            silent_since: None,
            ended: [None, None],
            streams: BTreeMap::new(),
            next_stream: 0,
            opened: [VecDeque::new(), VecDeque::new()],
            wakers: Vec::new(),
        }
    }

    /// Lets an end learn at `at` that it is over, unless it learns it earlier.
    pub(super) fn end_at(&mut self, end: usize, at: Instant, reason: &str) {
        if self.ended[end].as_ref().is_none_or(|(earlier, _)| at < *earlier) {
            self.ended[end] = Some((at, reason.to_owned()));
        }
    }

    /// Why this end's connection is gone, if it is.
    pub(super) fn broken(&self, end: usize, now: Instant) -> Option<io::Error> {
        let ended = self.ended[end].as_ref().filter(|(at, _)| *at <= now);
        if let Some((_, reason)) = ended {
            return Some(io::Error::new(io::ErrorKind::ConnectionReset, reason.clone()));
        }
        let idle = self.silent_since.filter(|since| *since + IDLE <= now);
        idle.map(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing came for too long"))
    }

    pub(super) fn wake_all(&mut self) {
        let flows = self.streams.values_mut().flat_map(|stream| stream.flows.iter_mut());
        let waiting = flows.flat_map(|flow| [flow.reader.take(), flow.writer.take()]).flatten();
        for waker in waiting.chain(self.wakers.drain(..)) {
            waker.wake();
        }
    }

    pub(super) fn open(&mut self, end: usize) -> io::Result<u64> {
        if let Some(error) = self.broken(end, Instant::now()) {
            return Err(error);
        }
        self.next_stream += 1;
        let stream = Stream { opener: end, announced: false, flows: [Flow::default(), Flow::default()] };
        self.streams.insert(self.next_stream, stream);
        Ok(self.next_stream)
    }

    pub(super) fn poll_opened(
        &mut self,
        end: usize,
        passes: bool,
        cx: &Context<'_>,
    ) -> Result<io::Result<u64>, Option<Instant>> {
        let now = Instant::now();
        if let Some(error) = self.broken(end, now) {
            return Ok(Err(error));
        }
        let first = self.opened[end].front().map(|(at, _)| *at).filter(|_| passes);
        if first.is_some_and(|at| at <= now) {
            let (_, stream) = self.opened[end].pop_front().expect("its time was just read");
            return Ok(Ok(stream));
        }
        self.wait(cx);
        Err(self.next_look(end, first))
    }

    pub(super) fn poll_closed(&mut self, end: usize, cx: &Context<'_>) -> Result<(), Option<Instant>> {
        if self.broken(end, Instant::now()).is_some() {
            return Ok(());
        }
        self.wait(cx);
        Err(self.next_look(end, None))
    }

    pub(super) fn poll_write(
        &mut self,
        end: usize,
        stream: u64,
        bytes: &[u8],
        arrives: Instant,
        cx: &Context<'_>,
    ) -> Result<io::Result<usize>, Option<Instant>> {
        if let Some(error) = self.broken(end, Instant::now()) {
            return Ok(Err(error));
        }
        if bytes.is_empty() {
            return Ok(Ok(0));
        }
        let look = self.next_look(end, None);
        let stream_state = self.streams.get_mut(&stream).expect("streams live while a half is held");
        let flow = &mut stream_state.flows[end];
        if flow.stopped || flow.finished_at.is_some() {
            let error = io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads this stream");
            return Ok(Err(error));
        }
        let room = STREAM_BUFFER_MAX_BYTES - flow.buffered_bytes;
        let taken = room.min(bytes.len());
        if taken == 0 {
            flow.writer = Some(cx.waker().clone());
            return Err(look);
        }
        // Later bytes never overtake earlier ones.
        let arrives = flow.last_at.map_or(arrives, |last| last.max(arrives));
        flow.last_at = Some(arrives);
        flow.buffered_bytes += taken;
        flow.chunks.push_back((arrives, Bytes::copy_from_slice(&bytes[..taken])));
        wake(&mut flow.reader);
        if end == stream_state.opener && !std::mem::replace(&mut stream_state.announced, true) {
            self.opened[1 - end].push_back((arrives, stream));
            self.wakers.drain(..).for_each(Waker::wake);
        }
        Ok(Ok(taken))
    }

    /// Fills some of `space`; 0 bytes: the stream has ended.
    pub(super) fn poll_read(
        &mut self,
        end: usize,
        stream: u64,
        space: usize,
        passes: bool,
        cx: &Context<'_>,
    ) -> Result<io::Result<Bytes>, Option<Instant>> {
        let now = Instant::now();
        if let Some(error) = self.broken(end, now) {
            return Ok(Err(error));
        }
        let stream = self.streams.get_mut(&stream).expect("streams live while a half is held");
        let flow = &mut stream.flows[1 - end];
        let due = |at: &Option<Instant>| passes && at.is_some_and(|at| at <= now);
        if due(&flow.reset_at) {
            return Ok(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the other side gave the stream up",
            )));
        }
        let first = flow.chunks.front().map(|(at, _)| *at);
        if due(&first) {
            let (_, chunk) = flow.chunks.front_mut().expect("its time was just read");
            let part = chunk.split_to(space.min(chunk.len()));
            if chunk.is_empty() {
                flow.chunks.pop_front();
            }
            flow.buffered_bytes -= part.len();
            wake(&mut flow.writer);
            return Ok(Ok(part));
        }
        if first.is_none() && due(&flow.finished_at) {
            return Ok(Ok(Bytes::new()));
        }
        flow.reader = Some(cx.waker().clone());
        let next =
            [first, flow.finished_at, flow.reset_at].into_iter().flatten().filter(|at| *at > now).min();
        Err(self.next_look(end, next.filter(|_| passes)))
    }

    /// What an end could have read by now arrives later, in the same order within a stream.
    pub(super) fn hold_back(&mut self, end: usize, now: Instant, draw: &mut impl FnMut() -> Instant) {
        for stream in self.streams.values_mut() {
            let Flow { chunks, last_at, finished_at, reset_at, .. } = &mut stream.flows[1 - end];
            let times = chunks.iter_mut().map(|(at, _)| at).chain(finished_at).chain(reset_at);
            let latest = put_off(times, now, draw);
            *last_at = (*last_at).max(latest);
        }
        put_off(self.opened[end].iter_mut().map(|(at, _)| at), now, draw);
        self.wake_all();
    }

    pub(super) fn finish(&mut self, end: usize, stream: u64, arrives: Instant) {
        let flow = &mut self.streams.get_mut(&stream).expect("streams live while a half is held").flows[end];
        let arrives = flow.last_at.map_or(arrives, |last| last.max(arrives));
        flow.finished_at.get_or_insert(arrives);
        wake(&mut flow.reader);
    }

    pub(super) fn drop_writer(&mut self, end: usize, stream: u64, arrives: Instant) {
        let flow = &mut self.streams.get_mut(&stream).expect("streams live while a half is held").flows[end];
        flow.writer_gone = true;
        if flow.finished_at.is_none() {
            flow.reset_at = Some(arrives);
        }
        wake(&mut flow.reader);
        self.sweep(stream);
    }

    pub(super) fn drop_reader(&mut self, end: usize, stream: u64) {
        let flow =
            &mut self.streams.get_mut(&stream).expect("streams live while a half is held").flows[1 - end];
        flow.stopped = true;
        flow.chunks.clear();
        flow.buffered_bytes = 0;
        wake(&mut flow.writer);
        self.sweep(stream);
    }

    /// Forgets a stream that nobody holds any more.
    fn sweep(&mut self, id: u64) {
        let stream = &self.streams[&id];
        let (opener, other) = (&stream.flows[stream.opener], &stream.flows[1 - stream.opener]);
        let opener_gone = opener.writer_gone && other.stopped;
        let other_gone = (other.writer_gone && opener.stopped) || !stream.announced;
        if opener_gone && other_gone {
            self.streams.remove(&id);
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
    }

    /// The earliest of `other` and the time at which this end learns that it is over.
    fn next_look(&self, end: usize, other: Option<Instant>) -> Option<Instant> {
        let ended = self.ended[end].as_ref().map(|(at, _)| *at);
        let idle = self.silent_since.map(|since| since + IDLE);
        [ended, idle, other].into_iter().flatten().min()
    }
}

/// Puts off what was due, and what must not come before that. Returns the last time, if there is one.
fn put_off<'a>(
    times: impl Iterator<Item = &'a mut Instant>,
    now: Instant,
    draw: &mut impl FnMut() -> Instant,
) -> Option<Instant> {
    let mut latest = None;
    for at in times {
        let later = if *at <= now { draw() } else { *at };
        *at = latest.map_or(later, |latest| later.max(latest));
        latest = Some(*at);
    }
    latest
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
