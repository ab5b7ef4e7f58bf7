//! A member in the real world: real files, real QUIC, real clocks. The one place that names them.
//!
//! ## A data directory
//!
//! ```text
//! LOCK           held while a process uses the directory
//! member.json    which cluster, which node; written last, so without it the directory is not initialised
//! identity.pem   the node's certificate, the cluster's CA, the node's key
//! authority.bin  only while a bootstrap is unfinished: the CA's key on its way into the meta shard
//! joining.bin    only while joining is unfinished: the node's key and certificate request
//! node.json      where the running (or last) process listens
//! wal/           the write-ahead log
//! replicas/      a directory a replica
//! sole/          a file for each of these that is the only voter of its shard: nobody else has what it has
//! ```

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::wire::{AuthorityRecord, NodeRecord};
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::identity::{
    Authority, Identity, IdentityError, JoinToken, NodeKey, Secrets, fingerprint, peer_from_certificate,
};
use crate::net::transport::quic::{QuicTransport, Security};
use crate::net::transport::{Address, Peer, Transport};
use crate::net::wire::{AdminRequest, JoinRequest, TokenNew, admin_request};

use super::disk::Disk;
use super::disk::real::RealDisk;
use super::heap;
use super::member::{Bootstrap, Member, Seed, read_file, write_file};
use super::meta::bootstrap::{FIRST_NODE, FIRST_REPLICA};
use super::meta::join::{self, JoinError};
use super::process::memory_bytes;
pub use super::running::Stopped;
use super::running::{Node, NodeError, NodeParts};
use super::store::{MemoryBudget, StoreOptions};
use super::wal::WalOptions;
use super::wall::{SystemWall, Wall};

/// How long a joiner goes on asking.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a start waits for the cluster before it says that it is ready all the same.
const READY_LIMIT: Duration = Duration::from_secs(15);
/// Life and uses of the token that a bootstrap prints.
const FIRST_TOKEN: TokenNew = TokenNew { ttl_ms: 24 * 3600 * 1000, uses: 100 };
/// What stands for a fingerprint in the tokens of a cluster without identities.
const NO_FINGERPRINT: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How a data directory comes to belong to a cluster. Ignored where it already does.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// It must already belong to one.
    #[default]
    Resume,
    /// Begin a cluster, with the first shards split at these keys.
    Bootstrap { split_at: Vec<Vec<u8>> },
    /// Join the cluster that one of these addresses belongs to.
    Join { addresses: Vec<Address>, token: String },
}

/// How a member is run.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub data_dir: PathBuf,
    pub start: Start,
    /// UDP address for members and clients; port 0: a free one, kept for the next start.
    pub listen: SocketAddr,
    /// TCP address for HTTP; `None`: as `listen`.
    pub http_listen: Option<SocketAddr>,
    /// HOST or HOST:PORT where others reach this node; `None`: the address it listens on.
    pub advertise: Option<String>,
    pub zone: String,
    /// 100: an ordinary node.
    pub weight: u32,
    /// Without identities; loopback only.
    pub insecure: bool,
}

/// What there is to tell once a member serves. `node.json` holds the part that scripts read.
#[derive(Clone, Debug)]
pub struct ReadyInfo {
    pub node: NodeId,
    pub cluster_id: String,
    /// Where others reach it.
    pub quic: String,
    pub http: String,
    /// After a bootstrap: a token for others to join with.
    pub join_token: Option<String>,
    /// After a bootstrap: an administrator's identity. `None` on a cluster without identities.
    pub admin: Option<Identity>,
    pub bootstrapped: bool,
    pub insecure: bool,
}

/// `node.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeFile {
    pub node_id: u64,
    pub pid: u32,
    pub quic: String,
    pub http: String,
    pub cluster_id: String,
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{} does not belong to a cluster yet", dir.display())]
    NotInitialised { dir: PathBuf },
    #[error("{} cannot be used as a data directory", dir.display())]
    Directory { dir: PathBuf, source: std::io::Error },
    #[error("the token is malformed")]
    Token(#[source] IdentityError),
    #[error("the node's identity cannot be used")]
    Identity(#[from] IdentityError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("joining failed")]
    Join(#[from] JoinError),
    #[error("a cluster without identities may listen on loopback only, not on {address}")]
    InsecureAddress { address: SocketAddr },
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the first token could not be made: {0}")]
    FirstToken(String),
}

/// A running member.
pub struct Server {
    node: Node,
    info: ReadyInfo,
}

/// A directory that belongs to a cluster, and what it needs to take part.
struct Initialised {
    member: Member,
    identity: Option<Identity>,
    authority: Option<AuthorityRecord>,
    fresh: bool,
}

impl Server {
    /// Starts a member; returns when it serves.
    pub async fn start(options: ServerOptions) -> Result<Server, StartError> {
        if options.insecure && !options.listen.ip().is_loopback() {
            return Err(StartError::InsecureAddress { address: options.listen });
        }
        let directory = |source| StartError::Directory { dir: options.data_dir.clone(), source };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(options.data_dir.clone()).map_err(directory)?);
        let last = read_node_file(&disk);
        let listen = reserve(options.listen, last.as_ref().map(|last| last.quic.as_str()))?;
        let ready = initialise(&options, &disk, listen).await?;
        let (transport, listen) = bind(&ready, listen, options.listen)?;
        let advertise = advertised(&options, listen);

        let ca_fingerprint = ready
            .identity
            .as_ref()
            .map_or(NO_FINGERPRINT.to_owned(), |identity| fingerprint(&identity.ca_der));
        let node = Node::start(NodeParts {
            disk: disk.clone(),
            transport,
            exec: Exec::Threads,
            wall: Arc::new(SystemWall),
            chance: Chance::system(),
            member: ready.member.clone(),
            advertise: advertise.clone(),
            zone: options.zone.clone(),
            weight: options.weight,
            ca_fingerprint,
            secrets: Secrets::System,
            authority: ready.authority.clone(),
            wal: WalOptions::default(),
            store: StoreOptions::new(MemoryBudget::new(memory_bytes() / 4)),
            give_back: heap::give_back,
        })
        .await?;
        let admin = finish_bootstrap(&disk, &ready).map_err(|error| match error {
            FinishError::Identity(error) => StartError::Identity(error),
            FinishError::Disk(error) => directory(error),
        })?;
        let http = serve_http(&node, &options, listen, last.as_ref()).await?;
        let http = with_port(&advertise, http.port());
        node.reports.set_http(http.clone());
        let bootstrapped = ready.fresh && ready.member.bootstrap.is_some();
        let join_token = match bootstrapped {
            true => Some(first_token(&node).await?),
            false => None,
        };
        wait_until_known(&node).await;
        let info = ReadyInfo {
            node: ready.member.node,
            cluster_id: ready.member.cluster_id.clone(),
            quic: advertise,
            http,
            join_token,
            admin,
            bootstrapped,
            insecure: ready.member.insecure,
        };
        write_node_file(&disk, &info).map_err(directory)?;
        Ok(Server { node, info })
    }

    /// The members as this node knows them.
    pub fn members(&self) -> Vec<NodeRecord> {
        join::members(&self.node.view.now().map)
    }

    pub fn ready_info(&self) -> &ReadyInfo {
        &self.info
    }

    /// Returns when the member has stopped by itself.
    pub async fn stopped(&self) -> Stopped {
        self.node.stopped().await
    }

    /// Hands leadership over, drains, flushes, closes.
    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }
}

/// The address to listen on: port 0 becomes the port used last, or a free one.
fn reserve(listen: SocketAddr, last: Option<&str>) -> Result<SocketAddr, StartError> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    let last_port = last.and_then(|last| last.rsplit_once(':')?.1.parse::<u16>().ok());
    if let Some(port) = last_port {
        let address = SocketAddr::new(listen.ip(), port);
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
        tracing::warn!(%address, "the port of the last run is taken; another one is used");
    }
    let free = UdpSocket::bind(listen).and_then(|socket| socket.local_addr());
    free.map_err(|error| StartError::Listen { address: listen, source: error.into() })
}

fn bind(
    ready: &Initialised,
    listen: SocketAddr,
    asked: SocketAddr,
) -> Result<(Arc<dyn Transport>, SocketAddr), StartError> {
    let security = || match &ready.identity {
        Some(identity) => {
            Security::Mutual { identity: identity.clone(), cluster_id: ready.member.cluster_id.clone() }
        }
        None => Security::Insecure { claim: Peer::Node(ready.member.node) },
    };
    let bound =
        QuicTransport::bind(Some(listen), security(), Exec::Threads).or_else(|error| match asked.port() {
            0 => QuicTransport::bind(Some(asked), security(), Exec::Threads),
            _ => Err(error),
        });
    let transport = bound.map_err(|error| StartError::Listen { address: listen, source: error.into() })?;
    let address = transport.local_addr();
    Ok((Arc::new(transport), address))
}

/// Where others reach this node.
fn advertised(options: &ServerOptions, listen: SocketAddr) -> String {
    match &options.advertise {
        Some(given) if given.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            given.clone()
        }
        Some(host) => format!("{host}:{}", listen.port()),
        None if listen.ip().is_unspecified() => {
            SocketAddr::new(outward_address(listen.ip()), listen.port()).to_string()
        }
        None => listen.to_string(),
    }
}

/// The address this machine would use towards others; loopback if it has no other.
fn outward_address(unspecified: IpAddr) -> IpAddr {
    // Connecting a datagram socket sends nothing; it only makes the system choose an address.
    let chosen = UdpSocket::bind((unspecified, 0)).and_then(|socket| {
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    });
    chosen.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

fn with_port(address: &str, port: u16) -> String {
    format!("{}:{port}", address.rsplit_once(':').map_or(address, |(host, _)| host))
}

async fn serve_http(
    node: &Node,
    options: &ServerOptions,
    listen: SocketAddr,
    last: Option<&NodeFile>,
) -> Result<SocketAddr, StartError> {
    let wanted = options.http_listen.unwrap_or_else(|| match options.listen.port() {
        0 => options.listen,
        _ => listen,
    });
    let last_port = last.and_then(|last| last.http.rsplit_once(':')?.1.parse::<u16>().ok());
    let again = last_port.filter(|_| wanted.port() == 0).map(|port| SocketAddr::new(wanted.ip(), port));
    let address = again.filter(|address| TcpListener::bind(address).is_ok()).unwrap_or(wanted);
    node.serve_http(address).await.map_err(|error| StartError::Listen { address, source: error.into() })
}

/// Makes the directory a member's, where it is not yet.
async fn initialise(
    options: &ServerOptions,
    disk: &Arc<dyn Disk>,
    listen: SocketAddr,
) -> Result<Initialised, StartError> {
    let directory = |source| StartError::Directory { dir: options.data_dir.clone(), source };
    if let Some(member) = Member::load(disk).map_err(directory)? {
        let identity = match member.insecure {
            true => None,
            false => Some(load_identity(disk, &member).map_err(directory)??),
        };
        let authority = read_file(&**disk, Path::new(AUTHORITY_FILE)).map_err(directory)?;
        let authority = authority.and_then(|bytes| AuthorityRecord::decode(&bytes[..]).ok());
        return Ok(Initialised { member, identity, authority, fresh: false });
    }
    match &options.start {
        Start::Resume => Err(StartError::NotInitialised { dir: options.data_dir.clone() }),
        Start::Bootstrap { split_at } => bootstrap(options, disk, split_at).map_err(|error| match error {
            FinishError::Identity(error) => StartError::Identity(error),
            FinishError::Disk(error) => directory(error),
        }),
        Start::Join { addresses, token } => enter(options, disk, listen, addresses, token).await,
    }
}

const IDENTITY_FILE: &str = "identity.pem";
const AUTHORITY_FILE: &str = "authority.bin";
const JOINING_FILE: &str = "joining.bin";
const NODE_FILE: &str = "node.json";

#[derive(Debug, thiserror::Error)]
enum FinishError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
}

fn load_identity(disk: &Arc<dyn Disk>, member: &Member) -> std::io::Result<Result<Identity, IdentityError>> {
    let bytes = read_file(&**disk, Path::new(IDENTITY_FILE))?;
    let bytes = bytes.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, IDENTITY_FILE))?;
    Ok(Identity::from_pem(&String::from_utf8_lossy(&bytes))
        .and_then(|identity| must_name(&identity, member).map(|()| identity)))
}

/// A client's identity, or another node's, is nothing to serve with: nobody would believe it, or take it for the other.
fn must_name(identity: &Identity, member: &Member) -> Result<(), IdentityError> {
    let (found, expected) =
        (peer_from_certificate(&identity.cert_der, &member.cluster_id)?, Peer::Node(member.node));
    match found == expected {
        true => Ok(()),
        false => Err(IdentityError::Another { found, expected }),
    }
}

fn bootstrap(
    options: &ServerOptions,
    disk: &Arc<dyn Disk>,
    split_at: &[Vec<u8>],
) -> Result<Initialised, FinishError> {
    let mut id = [0u8; 8];
    getrandom::fill(&mut id).expect("the operating system has randomness");
    let cluster_id = format!("{:016x}", u64::from_le_bytes(id));
    let member = Member {
        cluster_id: cluster_id.clone(),
        node: FIRST_NODE,
        meta_replica: FIRST_REPLICA,
        insecure: options.insecure,
        seeds: Vec::new(),
        opened: false,
        bootstrap: Some(Bootstrap { split_at: split_at.to_vec() }),
    };
    let (identity, authority) = match options.insecure {
        true => (None, None),
        false => {
            let now_ms = SystemWall.now_ms();
            let authority = Authority::create(&cluster_id, now_ms)?;
            let identity = authority.issue_node(FIRST_NODE, now_ms)?;
            let (certificate_der, key_der) = authority.to_parts();
            let record = AuthorityRecord { certificate_der: certificate_der.into(), key_der: key_der.into() };
            write_file(&**disk, Path::new(AUTHORITY_FILE), &record.encode_to_vec())?;
            write_file(&**disk, Path::new(IDENTITY_FILE), identity.to_pem().as_bytes())?;
            (Some(identity), Some(record))
        }
    };
    member.save(disk)?;
    Ok(Initialised { member, identity, authority, fresh: true })
}

/// After the cluster has begun: issues the administrator's identity and drops the CA's key from this directory.
fn finish_bootstrap(disk: &Arc<dyn Disk>, ready: &Initialised) -> Result<Option<Identity>, FinishError> {
    let Some(record) = &ready.authority else { return Ok(None) };
    let authority = Authority::from_parts(&record.certificate_der, &record.key_der)?;
    let admin = authority.issue_client("admin", SystemWall.now_ms())?;
    disk.remove(Path::new(AUTHORITY_FILE))?;
    disk.sync_dir(Path::new(""))?;
    Ok(Some(admin))
}

/// What a joiner keeps until it is a member, so that it can ask again with the same key.
#[derive(Serialize, Deserialize)]
struct Joining {
    key_der: Vec<u8>,
    csr_der: Vec<u8>,
}

async fn enter(
    options: &ServerOptions,
    disk: &Arc<dyn Disk>,
    listen: SocketAddr,
    addresses: &[Address],
    token: &str,
) -> Result<Initialised, StartError> {
    let directory = |source| StartError::Directory { dir: options.data_dir.clone(), source };
    let token: JoinToken = token.trim().parse().map_err(StartError::Token)?;
    let joining = joining_key(disk).map_err(|error| match error {
        FinishError::Identity(error) => StartError::Identity(error),
        FinishError::Disk(error) => directory(error),
    })?;
    let security = match options.insecure {
        true => Security::Insecure { claim: Peer::Stranger },
        false => Security::JoinOnly { expect_ca_fingerprint: token.ca_fingerprint.clone() },
    };
    let transport = QuicTransport::bind(None, security, Exec::Threads)
        .map_err(|error| StartError::Listen { address: listen, source: error.into() })?;
    let transport: Arc<dyn Transport> = Arc::new(transport);
    let request = JoinRequest {
        token_id: token.id.clone(),
        secret: Bytes::copy_from_slice(token.secret()),
        csr_der: joining.csr_der.clone().into(),
        quic: advertised(options, listen),
        http: String::new(),
        zone: options.zone.clone(),
        weight: options.weight,
    };
    let asked = join::ask(&transport, Exec::Threads, addresses, &request, JOIN_LIMIT).await;
    transport.close().await;
    let reply = asked?;
    let identity = match options.insecure {
        true => None,
        false => Some(Identity {
            ca_der: reply.ca_der.to_vec(),
            cert_der: reply.certificate_der.to_vec(),
            key_der: joining.key_der,
        }),
    };
    if let Some(identity) = &identity {
        write_file(&**disk, Path::new(IDENTITY_FILE), identity.to_pem().as_bytes()).map_err(directory)?;
    }
    let seeds = reply.nodes.iter().map(|node| Seed { node: NodeId(node.node), quic: node.quic.clone() });
    let member = Member {
        cluster_id: reply.cluster_id,
        node: NodeId(reply.node),
        meta_replica: ReplicaId(reply.meta_replica),
        insecure: options.insecure,
        seeds: seeds.collect(),
        opened: false,
        bootstrap: None,
    };
    member.save(disk).map_err(directory)?;
    disk.remove(Path::new(JOINING_FILE)).map_err(directory)?;
    Ok(Initialised { member, identity, authority: None, fresh: true })
}

fn joining_key(disk: &Arc<dyn Disk>) -> Result<Joining, FinishError> {
    let path = Path::new(JOINING_FILE);
    if let Some(bytes) = read_file(&**disk, path)?
        && let Ok(joining) = serde_json::from_slice(&bytes)
    {
        return Ok(joining);
    }
    let key = NodeKey::generate()?;
    let joining = Joining { key_der: key.key_der, csr_der: key.csr_der };
    write_file(&**disk, path, &serde_json::to_vec(&joining).expect("bytes have a JSON form"))?;
    Ok(joining)
}

async fn first_token(node: &Node) -> Result<String, StartError> {
    let request = AdminRequest { body: Some(admin_request::Body::TokenNew(FIRST_TOKEN)) };
    let answer = node.requests.office.serve(request).await;
    answer.map(|answer| answer.token).map_err(|error| StartError::FirstToken(error.to_string()))
}

/// Waits until this node sees the cluster's records and a leader of the meta shard; goes on without after a while, since
/// a whole cluster may be starting one by one.
async fn wait_until_known(node: &Node) {
    let known = async {
        let mut changes = node.view.watch();
        let own = node.member.node;
        // An error means that the node is going down.
        let _ = changes.wait_for(|cluster| cluster.map.node(own).is_some()).await;
        if let Some(meta) = node.shards.get(ShardId::META) {
            meta.group.wait_until(|| meta.group.leadership().node.is_some()).await;
        }
    };
    if tokio::time::timeout(READY_LIMIT, known).await.is_err() {
        tracing::warn!("no majority of the meta shard answers yet; this node waits for the others");
    }
}

fn read_node_file(disk: &Arc<dyn Disk>) -> Option<NodeFile> {
    serde_json::from_slice(&read_file(&**disk, Path::new(NODE_FILE)).ok()??).ok()
}

fn write_node_file(disk: &Arc<dyn Disk>, info: &ReadyInfo) -> std::io::Result<()> {
    let file = NodeFile {
        node_id: info.node.0,
        pid: std::process::id(),
        quic: info.quic.clone(),
        http: info.http.clone(),
        cluster_id: info.cluster_id.clone(),
    };
    let bytes = serde_json::to_vec_pretty(&file).expect("it has a JSON form");
    write_file(&**disk, Path::new(NODE_FILE), &bytes)
}
