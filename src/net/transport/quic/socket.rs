//! A UDP socket that counts the bytes it carries.
//!
//! Counts the contents of datagrams, both ways, whoever they are from or to: not the heads of IP and UDP. Changes nothing.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use super::TransportCounts;

#[derive(Debug)]
pub(super) struct CountingSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    counts: Arc<TransportCounts>,
}

impl CountingSocket {
    pub(super) fn new(socket: UdpSocket, counts: Arc<TransportCounts>) -> io::Result<CountingSocket> {
        Ok(CountingSocket { socket: TokioRuntime.wrap_udp_socket(socket)?, counts })
    }
}

impl AsyncUdpSocket for CountingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.socket.try_send(transmit)?;
        self.counts.sent_bytes.inc_by(transmit.contents.len() as u64);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        space: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let came = ready!(self.socket.poll_recv(cx, space, meta))?;
        let bytes = meta[..came].iter().map(|one| one.len as u64).sum();
        self.counts.received_bytes.inc_by(bytes);
        Poll::Ready(Ok(came))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
