//! A QUIC connection and its streams as the transport seam wants them.
//!
//! Dropping the writing half of a stream without `shutdown` resets it: the other side sees a break, not an end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use quinn::{RecvStream, SendStream};
use tokio::io::AsyncWrite;

use super::places::Place;
use super::{CODE_BYE, Class, Connection, Peer, Pipe};

pub(super) struct QuicConnection {
    pub(super) connection: quinn::Connection,
    pub(super) peer: Peer,
    pub(super) class: Class,
    /// Of a connection that the other side made.
    pub(super) _place: Option<Place>,
}

struct Writer {
    stream: SendStream,
    finished: bool,
}

impl Connection for QuicConnection {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn class(&self) -> Class {
        self.class
    }

    fn remote_addr(&self) -> SocketAddr {
        let address = self.connection.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    fn open(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        Box::pin(async { Ok(pipe(self.connection.open_bi().await?)) })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        Box::pin(async { Ok(pipe(self.connection.accept_bi().await?)) })
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.connection.closed().await;
        })
    }

    fn close(&self, reason: &str) {
        self.connection.close(CODE_BYE.into(), reason.as_bytes());
    }
}

fn pipe((send, recv): (SendStream, RecvStream)) -> Pipe {
    Pipe { reader: Box::new(recv), writer: Box::new(Writer { stream: send, finished: false }) }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without this quinn would finish it for us. After `finish` a reset would take back what is not delivered yet.
        if !self.finished {
            let _ = self.stream.reset(CODE_BYE.into());
        }
    }
}
