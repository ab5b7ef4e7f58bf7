//! The socket and what QUIC is told: windows, streams, time-outs.
//!
//! | class | connection window | streams | send window |
//! |---|---|---|---|
//! | not known yet, accepted | 256 KiB | 4 | 1 MiB |
//! | control | 16 MiB | 256 | 16 MiB |
//! | append, bulk | 64 MiB | 256 | 64 MiB |
//! | client | 8 MiB | 64 | 8 MiB |
//! | join | 256 KiB | 4 | 1 MiB |
//!
//! One stream may use 16 MiB of its connection's window. MTU discovery stays at its default: larger forced values lost
//! datagrams when measured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use socket2::{Domain, Protocol, Socket, Type};

use super::socket::CountingSocket;
use super::{BindError, Class, HANDSHAKES_MAX, IDLE_TIMEOUT_MS, KEEP_ALIVE_MS, TransportCounts};

/// Kernel buffer each way; with the usual 208 KiB bursts were dropped.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Sent at first without an acknowledgement. With the usual 10 packets the first burst over a connection that was idle took
/// several round trips, each as long as the machine's processors are busy (longest first puts with four busy loops beside: 23
/// to 66 ms; with 1 MiB, 19 to 47). So much fits into the kernel's usual buffer.
const INITIAL_WINDOW_BYTES: u64 = 256 * 1024;
const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// What is kept of each handshake until it is accepted, bytes; and of all of them.
const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;
const INCOMING_BUFFER_TOTAL_BYTES: u64 = 4 * 1024 * 1024;

pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What one connection may make us hold.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that came and nobody has read.
    pub window_bytes: u32,
    /// Streams that the other side has open.
    pub streams: u32,
    /// Bytes written and not acknowledged.
    pub send_bytes: u64,
}

/// Of a connection that nobody is known at the other end of.
pub const UNKNOWN: Room = Room { window_bytes: 256 * 1024, streams: 4, send_bytes: 1024 * 1024 };

/// Of a connection of this class.
pub fn room(class: Class) -> Room {
    const MIB: u32 = 1024 * 1024;
    match class {
        Class::Control => Room { window_bytes: 16 * MIB, streams: 256, send_bytes: 16 * u64::from(MIB) },
        Class::Append | Class::Bulk => {
            Room { window_bytes: 64 * MIB, streams: 256, send_bytes: 64 * u64::from(MIB) }
        }
        Class::Client => Room { window_bytes: 8 * MIB, streams: 64, send_bytes: 8 * u64::from(MIB) },
        Class::Join => UNKNOWN,
    }
}

/// Gives an accepted connection the room of its class, once it is known who it is.
pub(super) fn widen(connection: &quinn::Connection, class: Class) {
    let room = room(class);
    connection.set_receive_window(room.window_bytes.into());
    connection.set_max_concurrent_bi_streams(room.streams.into());
    connection.set_send_window(room.send_bytes);
}

pub(super) fn server_config(tls: QuicServerConfig) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport(&UNKNOWN, 0)));
    config.max_incoming(HANDSHAKES_MAX);
    config.incoming_buffer_size(INCOMING_BUFFER_BYTES);
    config.incoming_buffer_size_total(INCOMING_BUFFER_TOTAL_BYTES);
    // Peers have fixed addresses, and a laptop that moves may dial again.
    config.migration(false);
    config
}

pub(super) fn client_config(tls: QuicClientConfig, class: Class) -> quinn::ClientConfig {
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    // The one stream is the other side's word that we are admitted.
    config.transport_config(Arc::new(transport(&room(class), 1)));
    config
}

/// A socket; with `reset_seed`, one whose successor at the same address can reset the connections it had.
pub(super) fn bind(
    listen: Option<SocketAddr>,
    server: Option<quinn::ServerConfig>,
    reset_seed: Option<[u8; 32]>,
    counts: &Arc<TransportCounts>,
) -> Result<quinn::Endpoint, BindError> {
    let socket = match listen {
        Some(address) => socket(address),
        // Both families if the machine has both.
        None => socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).or_else(|_| socket(ANY_PORT)),
    };
    let failed = |source| BindError::Socket { address: listen.unwrap_or(ANY_PORT), source };
    let socket = socket.and_then(|socket| CountingSocket::new(socket, Arc::clone(counts)));
    let socket = Arc::new(socket.map_err(failed)?);
    let config = match reset_seed {
        None => EndpointConfig::default(),
        Some(seed) => {
            let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &seed)));
            // Also its own connection ids must be recognisable, or it ignores what is sent to them.
            let ids = u64::from_le_bytes(*seed.first_chunk().expect("a seed is longer than 8 bytes"));
            config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
            config
        }
    };
    let runtime = Arc::new(TokioRuntime);
    quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime).map_err(failed)
}

fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Some systems cannot; then this socket speaks IPv6 only.
        let _ = socket.set_only_v6(false);
    }
    // The system may allow less.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn transport(room: &Room, uni_streams: u32) -> TransportConfig {
    let idle_ms = VarInt::from_u64(IDLE_TIMEOUT_MS).expect("ten seconds fit");
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(congestion))
        .keep_alive_interval(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(IdleTimeout::from(idle_ms)))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(room.window_bytes.into())
        .max_concurrent_bidi_streams(room.streams.into())
        .max_concurrent_uni_streams(uni_streams.into())
        .send_window(room.send_bytes)
        .datagram_receive_buffer_size(None);
    config
}
