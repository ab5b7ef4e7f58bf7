//! A cluster of real processes among strangers: garbage on every port, handshakes and requests that stop in the middle,
//! lengths that are only announced, readers that never read, identities and tokens that are not good.
//!
//! Each part runs while clients write. They must go on writing, the nodes' memory must stay within a bound, and what was
//! acknowledged must be there at the end. The attackers come from 127.0.0.2, so that limits for an address are theirs.
//! failures.md, Security.

mod support;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodenomad::cmd::context_file::Context;
use nodenomad::cmd::session::with_identity;
use nodenomad::model::id::NodeId;
use nodenomad::model::key::Key;
use nodenomad::net::chance::Chance;
use nodenomad::net::exec::Exec;
use nodenomad::net::identity::{Authority, Identity};
use nodenomad::net::kind;
use nodenomad::net::transport::quic::{HANDSHAKES_PER_ADDRESS_MAX, QuicTransport, Security};
use nodenomad::net::transport::{Address, Class, Connection, Transport};
use nodenomad::net::wire::{Range, Request, request};
use nodenomad::node::http;
use prost::Message;
use support::writers::{Writers, verify};
use support::{Cluster, NOMAD};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

/// What each part may cost a node, beside what the writers do.
const GROWTH_MAX_BYTES: u64 = 64 << 20;
/// Answers that one client has asked for and does not take: the connection's own bound, and the making of the last ones.
const UNREAD_MAX_BYTES: u64 = 400 << 20;
/// Strangers at once.
const CROWD: usize = 1_000;
/// How long a write may take while strangers do what they can.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// When dialers are no longer heard; before they give up.
const SILENT_AFTER: Duration = Duration::from_secs(2);
const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_among_strangers() {
    let (mut cluster, client) = Cluster::whole(3, "m").await;
    let writers = Writers::start(&client, 4);
    writers.wait_for(500, WRITE_LIMIT).await;
    let scene = Scene { cluster: &cluster, writers: &writers };
    scene.part("garbage in datagrams", GROWTH_MAX_BYTES, garbage_in_datagrams(&cluster)).await;
    scene.part("handshakes that stop", GROWTH_MAX_BYTES, handshakes_that_stop(&scene)).await;
    scene.part("slow and garbled HTTP", GROWTH_MAX_BYTES, slow_http(&scene)).await;
    scene.part("announced lengths", GROWTH_MAX_BYTES, announced_lengths(&cluster)).await;
    scene.part("answers not taken", UNREAD_MAX_BYTES, answers_not_taken(&cluster, &client)).await;
    let records = writers.stop().await;
    assert!(verify(&client, &records).await > 0);
    cluster.equal_digests(&client, Duration::from_secs(30)).await;
    identities(&cluster);
    tokens(&cluster);
    rejections_are_counted(&cluster).await;
    another_identity(&mut cluster);
    client.get(b"/after").await.unwrap();
}

struct Scene<'a> {
    cluster: &'a Cluster,
    writers: &'a Writers,
}

impl Scene<'_> {
    /// Runs a part; afterwards the nodes must be the size they were, and clients must have written throughout.
    async fn part(&self, name: &str, growth: u64, part: impl Future<Output = ()>) {
        let before: Vec<u64> = (0..3).map(|n| resident_bytes(self.cluster, n)).collect();
        let (written, begin) = (self.writers.acknowledged(), Instant::now());
        part.await;
        self.writers.wait_for(100, WRITE_LIMIT).await;
        let mut told = String::new();
        for (n, before) in before.iter().enumerate() {
            let after = resident_bytes(self.cluster, n);
            assert!(after < before + growth, "{name}: node {n} grew from {before} to {after} bytes");
            told += &format!(" {} -> {} MiB", before >> 20, after >> 20);
        }
        let written = self.writers.acknowledged() - written;
        println!("{name}: {:?}, {written} writes meanwhile;{told}", begin.elapsed());
    }
}

fn node_file(cluster: &Cluster, n: usize) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(cluster.nodes[n].dir.join("node.json")).unwrap()).unwrap()
}

fn address(cluster: &Cluster, n: usize, protocol: &str) -> SocketAddr {
    node_file(cluster, n)[protocol].as_str().unwrap().parse().unwrap()
}

fn resident_bytes(cluster: &Cluster, n: usize) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node_file(cluster, n)["pid"])).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn random(chance: &Chance, bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8)).flat_map(|_| chance.number().to_le_bytes()).take(bytes).collect()
}

async fn garbage_in_datagrams(cluster: &Cluster) {
    let chance = Chance::from_seed(1);
    let socket = UdpSocket::bind((ATTACKER, 0)).await.unwrap();
    for round in 0..10_000 {
        let size = [0, 1, 20, 64, 1200, 1400][round % 6];
        let mut datagram = random(&chance, size);
        // Half of them begin as a first packet of QUIC version 1 would.
        if round % 2 == 0 && size >= 20 {
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        socket.send_to(&datagram, address(cluster, round % 3, "quic")).await.unwrap();
    }
}

/// Between a dialer and a node: of what the node says only retries get through. So the node holds a handshake of an address
/// that has been proved, and hears no more of it.
async fn silencer(node: SocketAddr) -> SocketAddr {
    let (front, back) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind((ATTACKER, 0)).await.unwrap());
    let at = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 2048], [0; 2048]);
        let (mut dialer, begin) = (None, Instant::now());
        loop {
            tokio::select! {
                said = front.recv_from(&mut up) => {
                    let (bytes, from) = said.unwrap();
                    dialer = Some(from);
                    // The dialer's good-bye, once it has given up, is not for the node either.
                    if begin.elapsed() > SILENT_AFTER {
                        continue;
                    }
                    let _ = back.send_to(&up[..bytes], node).await;
                }
                said = back.recv_from(&mut down) => {
                    let (bytes, _) = said.unwrap();
                    if down[0] & 0xf0 == 0xf0 {
                        let _ = front.send_to(&down[..bytes], dialer.unwrap()).await;
                    }
                }
            }
        }
    });
    at
}

async fn handshakes_that_stop(scene: &Scene<'_>) {
    let node = address(scene.cluster, 0, "quic");
    let through = silencer(node).await;
    let pinned = Security::JoinOnly { expect_ca_fingerprint: "0".repeat(64) };
    let dialer = QuicTransport::bind(None, pinned, Exec::Threads).unwrap();
    let attempts: Vec<_> = (0..CROWD)
        .map(|_| tokio::spawn(dialer.connect(&Address(through.to_string()), Class::Join, None)))
        .collect();
    sleep(Duration::from_secs(1)).await;
    // Others connect and are served meanwhile: the crowd fills only what one address may have.
    scene.writers.wait_for(50, WRITE_LIMIT).await;
    for _ in 0..3 {
        scene.cluster.nomad(&["status"]);
    }
    for attempt in attempts {
        assert!(attempt.await.unwrap().is_err());
    }
    let begin = Instant::now();
    while !scene.cluster.nodes[0].log().contains("the handshake took too long") {
        assert!(begin.elapsed() < WRITE_LIMIT, "{}", scene.cluster.nodes[0].log());
        sleep(Duration::from_millis(50)).await;
    }
    let log = scene.cluster.nodes[0].log();
    assert!(log.contains("too many handshakes are under way with this address"), "the limit was reached");
    assert!(log.matches("refused a connection").count() < CROWD, "and not every one of them has a line");
    const { assert!(CROWD > HANDSHAKES_PER_ADDRESS_MAX) };
}

async fn from_attacker(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ATTACKER, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn healthy(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(WRITE_LIMIT, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("nodenomad_"), "{answer}");
    answer
}

/// What the strangers tried is in the metrics of some node, each part of it under its reason.
async fn rejections_are_counted(cluster: &Cluster) {
    let mut told = String::new();
    for n in 0..3 {
        let answer = healthy(address(cluster, n, "http")).await;
        assert!(answer.contains("content-type: application/openmetrics-text") && answer.ends_with("# EOF\n"));
        told += &answer;
    }
    for reason in ["handshake", "connections", "frame", "answers_not_taken", "join", "http"] {
        let series = format!("nodenomad_rejected_total{{reason=\"{reason}\"}} ");
        let values: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix(&series)).collect();
        assert!(values.len() == 3 && values.iter().any(|value| *value != "0"), "{reason}: {values:?}");
    }
}

async fn slow_http(scene: &Scene<'_>) {
    let node = address(scene.cluster, 0, "http");
    let mut slow = Vec::new();
    for _ in 0..CROWD {
        let mut stream = from_attacker(node).await;
        // Those that are refused may be gone already.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await;
        slow.push(stream);
    }
    healthy(node).await;
    scene.writers.wait_for(50, WRITE_LIMIT).await;
    let limit = Duration::from_millis(2 * http::HEAD_TIMEOUT_MS);
    let begin = Instant::now();
    let mut turned_away = 0;
    for stream in &mut slow {
        let mut answer = Vec::new();
        let ended = timeout(limit, stream.read_to_end(&mut answer)).await;
        let _ = ended.expect("slow ones are thrown out");
        turned_away += usize::from(answer.starts_with(b"HTTP/1.1 503 ") || answer.is_empty());
    }
    assert!(begin.elapsed() < limit && turned_away >= CROWD - http::CONNECTIONS_MAX, "{turned_away}");
    let chance = Chance::from_seed(2);
    for round in 0..300 {
        let mut stream = from_attacker(address(scene.cluster, round % 3, "http")).await;
        let _ = stream.write_all(&random(&chance, round * 50)).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(limit, stream.read_to_end(&mut answer)).await.expect("it ends");
    }
    healthy(node).await;
}

fn administrator(cluster: &Cluster) -> (Context, Identity) {
    let context = Context::read(&cluster.context()).unwrap_or_else(|failure| panic!("{failure:?}"));
    let part = |part: &Option<String>| part.clone().unwrap();
    let pem = [part(&context.cert), part(&context.ca), part(&context.key)].join("\n");
    let identity = Identity::from_pem(&pem).unwrap();
    (context, identity)
}

async fn connected(cluster: &Cluster, n: usize) -> (Arc<dyn Connection>, QuicTransport) {
    let (_, identity) = administrator(cluster);
    let (cluster_id, _) = identity.peer().unwrap();
    let transport =
        QuicTransport::bind(None, Security::Mutual { identity, cluster_id }, Exec::Threads).unwrap();
    let to = Address(address(cluster, n, "quic").to_string());
    (transport.connect(&to, Class::Client, None).await.unwrap(), transport)
}

/// Clients with a good identity that announce the largest bodies there are, on all streams they may have.
async fn announced_lengths(cluster: &Cluster) {
    let mut held = Vec::new();
    for _ in 0..20 {
        let (connection, transport) = connected(cluster, 0).await;
        let mut pipes = Vec::new();
        for first in [1u8, 2, 3].repeat(20) {
            let mut pipe = connection.open().await.unwrap();
            let largest: u32 = if first == 2 { 20 << 20 } else { 256 << 10 };
            pipe.writer.write_all(&[&[first][..], &largest.to_le_bytes(), &[0; 100]].concat()).await.unwrap();
            pipes.push(pipe);
        }
        held.push((pipes, connection, transport));
    }
    // More than may be: cut off at once, and only that connection.
    let (connection, _transport) = connected(cluster, 0).await;
    let mut pipe = connection.open().await.unwrap();
    pipe.writer.write_all(&[&[2][..], &u32::MAX.wrapping_sub(1).to_le_bytes()].concat()).await.unwrap();
    timeout(WRITE_LIMIT, connection.closed()).await.expect("it is closed");
    for (_, connection, _) in &held {
        assert!(
            timeout(Duration::ZERO, connection.closed()).await.is_err(),
            "the others have broken no rule"
        );
    }
}

/// Asks for two thousand large pages and never reads.
async fn answers_not_taken(cluster: &Cluster, client: &nodenomad::client::Client) {
    for n in 0..4 {
        client.put(format!("/large/{n}").as_bytes(), vec![n as u8; 250_000]).await.unwrap();
    }
    let shard = client.map().shards().nth(1).unwrap().shard;
    let leader = cluster.leader_of(client, shard.0).await;
    let (connection, _transport) = connected(cluster, leader).await;
    let range = Range {
        shard: shard.0,
        start: Key::from_name(b"/large/").unwrap().to_bytes(),
        end: Key::from_name(b"/large/9").unwrap().to_bytes(),
        ..Range::default()
    };
    let request =
        Request { timeout_ms: 60_000, body: Some(request::Body::Range(range)), ..Request::default() };
    let body = request.encode_to_vec();
    let mut frames = vec![1];
    for id in 0..2_000u64 {
        frames.extend((10 + body.len() as u32).to_le_bytes());
        frames.extend(id.to_le_bytes());
        frames.extend(kind::CLIENT_REQUEST.to_le_bytes());
        frames.extend_from_slice(&body);
    }
    let mut pipe = connection.open().await.unwrap();
    let writing = async {
        let _ = pipe.writer.write_all(&frames).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = writing => {}
        closed = timeout(Duration::from_secs(30), connection.closed()) => closed.expect("it is cut off"),
    }
}

/// Runs `nomad` outside the cluster's own context: exit code and errors.
fn nomad(args: &[&str]) -> (i32, String) {
    let output = Command::new(NOMAD).args(args).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), errors)
}

/// It failed so, in three parts, for this reason.
#[track_caller]
fn says((code, errors): (i32, String), expected: i32, reason: &str) {
    assert_eq!(code, expected, "{errors}");
    let parts = errors.starts_with("error: ") && errors.contains("\nbecause: ") && errors.contains("\ntry: ");
    assert!(parts && errors.contains(reason), "{errors}");
}

fn now_ms() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64
}

fn identities(cluster: &Cluster) {
    let (context, admin) = administrator(cluster);
    let (cluster_id, _) = admin.peer().unwrap();
    let with = |name: &str, identity: &Identity| -> PathBuf {
        let file = cluster.dir().join(name).with_extension("toml");
        let written =
            with_identity(Context { name: name.to_owned(), ..context.clone() }, identity).write(&file);
        written.unwrap_or_else(|failure| panic!("{failure:?}"));
        file
    };
    let get = |file: &Path| nomad(&["kv", "get", "/a", "--timeout", "3s", "-c", file.to_str().unwrap()]);
    let other = Authority::create(&cluster_id, now_ms()).unwrap();
    let stranger = other.issue_client("mallory", now_ms()).unwrap();
    // It believes our cluster; our cluster does not believe it.
    let file = with("signed-elsewhere", &Identity { ca_der: admin.ca_der.clone(), ..stranger.clone() });
    says(get(&file), 4, "our certificate");
    // It does not believe our cluster.
    says(get(&with("elsewhere", &stranger)), 3, "did not prove what it should be");
    // No certificate at all, and one without its key.
    let none = Context { ca: None, cert: None, key: None, ..context.clone() };
    let file = cluster.dir().join("none.toml");
    none.write(&file).unwrap_or_else(|failure| panic!("{failure:?}"));
    says(get(&file), 2, "needs `ca`, `cert` and `key`");
    let unequal = Identity { key_der: stranger.key_der.clone(), ..admin.clone() };
    assert_ne!(get(&with("another-key", &unequal)).0, 0);
    // A node of another cluster's authority, here.
    let node = other.issue_node(NodeId(1), now_ms()).unwrap();
    let file = with("node", &Identity { ca_der: admin.ca_der.clone(), ..node });
    says(get(&file), 4, "our certificate");
}

fn join(cluster: &Cluster, name: &str, token: &str) -> Command {
    let mut command = Command::new(NOMAD);
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--no-context",
        "--log-level",
        "error",
        "--token",
        token,
    ]);
    command
        .args(["--join", &address(cluster, 1, "quic").to_string(), "--data"])
        .arg(cluster.dir().join(name));
    command.stdin(Stdio::null());
    command
}

fn tokens(cluster: &Cluster) {
    let refused = |name: &str, token: &str| {
        let begin = Instant::now();
        let output = join(cluster, name, token).output().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(20), "{name}: not after a minute");
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let fresh = |uses: &str, ttl: &str| {
        let token = cluster.nomad(&["token", "new", "--uses", uses, "--ttl", ttl, "-o", "raw"]);
        token.trim().to_owned()
    };
    let good = fresh("1", "1h");
    let guessed =
        format!("{}{}", &good[..good.len() - 4], if good.ends_with("0000") { "1111" } else { "0000" });
    says(refused("guessed", &guessed), 4, "not known here");
    let parts: Vec<&str> = good.split('.').collect();
    let foreign = [parts[0], &"ab".repeat(32), parts[2], parts[3]].join(".");
    says(refused("foreign", &foreign), 4, "is not of the cluster that the token was made by");
    says(refused("short", &good[..40]), 2, "join token");
    let brief = fresh("1", "1s");
    // The cluster's clock is what runs out here.
    std::thread::sleep(Duration::from_millis(1_100));
    says(refused("expired", &brief), 4, "expired");
    // Used once, by somebody else.
    let mut first = join(cluster, "first", &good).stdout(Stdio::null()).spawn().unwrap();
    let joined = cluster.dir().join("first").join("member.json");
    let begin = Instant::now();
    while !joined.exists() {
        assert!(begin.elapsed() < Duration::from_secs(30), "the token is good");
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    says(refused("second", &good), 4, "used as often as it may be");
}

/// A client's identity, and another node's, in the place of a node's own.
fn another_identity(cluster: &mut Cluster) {
    assert_eq!(cluster.nodes[2].terminate(), Some(0));
    let own = cluster.nodes[2].dir.join("identity.pem");
    let kept = std::fs::read(&own).unwrap();
    let (_, admin) = administrator(cluster);
    let data = cluster.nodes[2].dir.to_str().unwrap().to_owned();
    let serve = || {
        nomad(&["serve", "--data", &data, "--listen", "127.0.0.1:0", "--no-context", "--log-level", "error"])
    };
    std::fs::write(&own, admin.to_pem()).unwrap();
    says(serve(), 7, "it names client admin, not node n3");
    std::fs::copy(cluster.nodes[1].dir.join("identity.pem"), &own).unwrap();
    says(serve(), 7, "it names node n2, not node n3");
    std::fs::write(&own, kept).unwrap();
    cluster.nodes[2].restart();
}
