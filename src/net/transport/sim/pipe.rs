//! The two halves of a simulated stream, as tokio reads and writes them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Alarm, Handle};

pub(super) struct SimReader {
    at: Handle,
    stream: u64,
    alarm: Alarm,
}

pub(super) struct SimWriter {
    at: Handle,
    stream: u64,
    alarm: Alarm,
}

impl SimReader {
    pub(super) fn new(at: Handle, stream: u64) -> SimReader {
        SimReader { at, stream, alarm: Alarm::default() }
    }
}

impl SimWriter {
    pub(super) fn new(at: Handle, stream: u64) -> SimWriter {
        SimWriter { at, stream, alarm: Alarm::default() }
    }
}

impl AsyncRead for SimReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let SimReader { at, stream, alarm } = self.get_mut();
        let read = alarm.poll_until(&at.net, cx, |cx| {
            let mut world = at.net.0.lock();
            let passes = world.passes_to(at);
            world.link(at).poll_read(at.end, *stream, space.remaining(), passes, cx)
        });
        read.map(|read| read.map(|bytes| space.put_slice(&bytes)))
    }
}

impl AsyncWrite for SimWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let SimWriter { at, stream, alarm } = self.get_mut();
        alarm.poll_until(&at.net, cx, |cx| at.net.0.lock().poll_write(at, *stream, bytes, cx))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut world = self.at.net.0.lock();
        let arrives = Instant::now() + world.latency();
        world.link(&self.at).finish(self.at.end, self.stream, arrives);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimReader {
    fn drop(&mut self) {
        self.at.net.0.lock().link(&self.at).drop_reader(self.at.end, self.stream);
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        let mut world = self.at.net.0.lock();
        let arrives = Instant::now() + world.latency();
        world.link(&self.at).drop_writer(self.at.end, self.stream, arrives);
    }
}
