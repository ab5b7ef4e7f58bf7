//! Who may connect to whom, over real QUIC on loopback. failures.md, Security: "Who is a node" and "Join".

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::identity::Authority;

const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// TLS checks certificates against the real clock.
fn now_ms() -> u64 {
    rustls::pki_types::UnixTime::now().as_secs() * 1000
}

fn authority() -> Authority {
    Authority::create("blue", now_ms()).unwrap()
}

fn mutual(identity: Identity) -> Security {
    Security::Mutual { identity, cluster_id: "blue".to_owned() }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn listen(security: Security) -> QuicTransport {
    QuicTransport::bind(Some(loopback()), security, Exec::Threads).unwrap()
}

fn dialer(security: Security) -> QuicTransport {
    QuicTransport::bind(None, security, Exec::Threads).unwrap()
}

fn address(transport: &QuicTransport) -> Address {
    Address(transport.local_addr().to_string())
}

type Connected = Result<Arc<dyn Connection>, ConnectError>;

async fn dial(from: &QuicTransport, to: &QuicTransport, class: Class) -> Connected {
    from.connect(&address(to), class, None).await
}

#[track_caller]
fn refused(connected: Connected) -> String {
    match connected.err().expect("this must be refused") {
        ConnectError::Identity { reason, .. } | ConnectError::Refused { reason, .. } => reason,
        other => panic!("refused for another reason: {other:?}"),
    }
}

/// A server of cluster blue (node 1) and a proof at the end that it accepted nobody but who may.
struct Server {
    authority: Authority,
    transport: QuicTransport,
}

impl Server {
    fn new() -> Server {
        let authority = authority();
        let transport = listen(mutual(authority.issue_node(NodeId(1), now_ms()).unwrap()));
        Server { authority, transport }
    }

    async fn accepted_only_who_may(self) {
        let good = dialer(mutual(self.authority.issue_node(NodeId(99), now_ms()).unwrap()));
        let _connection = dial(&good, &self.transport, Class::Control).await.unwrap();
        assert_eq!(self.transport.accept().await.unwrap().peer(), &Peer::Node(NodeId(99)));
    }
}

#[tokio::test]
async fn members_and_clients_connect_and_know_each_other() {
    let server = Server::new();
    let node = dialer(mutual(server.authority.issue_node(NodeId(2), now_ms()).unwrap()));
    for class in [Class::Control, Class::Append, Class::Bulk, Class::Client] {
        let dialed = node.connect(&address(&server.transport), class, Some(NodeId(1))).await.unwrap();
        let accepted = server.transport.accept().await.unwrap();
        assert_eq!((dialed.peer(), accepted.peer()), (&Peer::Node(NodeId(1)), &Peer::Node(NodeId(2))));
        assert_eq!((dialed.class(), accepted.class()), (class, class));
    }
    let client = dialer(mutual(server.authority.issue_client("ann", now_ms()).unwrap()));
    let dialed = dial(&client, &server.transport, Class::Client).await.unwrap();
    let accepted = server.transport.accept().await.unwrap();
    assert_eq!(accepted.peer(), &Peer::Client("ann".to_owned()));

    let mut ours = dialed.open().await.unwrap();
    ours.writer.write_all(b"hello").await.unwrap();
    ours.writer.shutdown().await.unwrap();
    let mut theirs = accepted.accept().await.unwrap();
    let mut said = String::new();
    theirs.reader.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello");
    // Dropped without shutdown: a break, not an end.
    theirs.writer.write_all(b"half").await.unwrap();
    drop(theirs.writer);
    assert!(ours.reader.read_to_string(&mut said).await.is_err());
    accepted.close("enough");
    dialed.closed().await;
}

#[tokio::test]
async fn bytes_are_counted_both_ways() {
    const BYTES: usize = 1 << 20;
    let server = Server::new();
    let node = dialer(mutual(server.authority.issue_node(NodeId(2), now_ms()).unwrap()));
    let dialed = dial(&node, &server.transport, Class::Bulk).await.unwrap();
    let accepted = server.transport.accept().await.unwrap();
    let mut ours = dialed.open().await.unwrap();
    ours.writer.write_all(&[7; BYTES]).await.unwrap();
    ours.writer.shutdown().await.unwrap();
    let mut came = Vec::new();
    accepted.accept().await.unwrap().reader.read_to_end(&mut came).await.unwrap();
    let (sent, received) = (node.counts().sent_bytes.get(), server.transport.counts().received_bytes.get());
    let most = BYTES as u64 * 5 / 4;
    assert!((BYTES as u64..most).contains(&sent), "{sent}");
    assert!((BYTES as u64..most).contains(&received), "{received}");
    assert!((1..BYTES as u64 / 4).contains(&node.counts().received_bytes.get()), "acknowledgements");
}

#[tokio::test]
async fn without_a_certificate_nothing_but_joining() {
    let server = Server::new();
    let mut nobody = dialer(Security::JoinOnly { expect_ca_fingerprint: server.authority.fingerprint() });
    let reason = refused(dial(&nobody, &server.transport, Class::Control).await);
    assert!(reason.contains("without a certificate"), "{reason}");
    // One that does not keep to that itself.
    nobody.dialer = tls::Tls::pinned(&server.authority.fingerprint(), |_| true).unwrap().dialer;
    for class in [Class::Control, Class::Append, Class::Bulk, Class::Client] {
        let reason = refused(dial(&nobody, &server.transport, class).await);
        assert!(reason.contains("a stranger is not admitted"), "{reason}");
    }
    server.accepted_only_who_may().await;
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused() {
    let server = Server::new();
    let other = authority();
    // It believes our server, but shows the other authority's certificate.
    let mut identity = other.issue_node(NodeId(2), now_ms()).unwrap();
    identity.ca_der = server.authority.ca_der().to_vec();
    refused(dial(&dialer(mutual(identity)), &server.transport, Class::Control).await);
    // And the other way round: a member does not believe such a server.
    let impostor = listen(mutual(other.issue_node(NodeId(1), now_ms()).unwrap()));
    let member = dialer(mutual(server.authority.issue_node(NodeId(2), now_ms()).unwrap()));
    refused(dial(&member, &impostor, Class::Control).await);
    server.accepted_only_who_may().await;
}

#[tokio::test]
async fn expired_certificates_are_refused() {
    let server = Server::new();
    let old = server.authority.issue_node(NodeId(2), now_ms() - 8 * YEAR_MS).unwrap();
    refused(dial(&dialer(mutual(old)), &server.transport, Class::Control).await);
    server.accepted_only_who_may().await;
}

#[tokio::test]
async fn a_client_is_no_member() {
    let server = Server::new();
    let ann = server.authority.issue_client("ann", now_ms()).unwrap();
    let client = dialer(mutual(ann.clone()));
    for class in [Class::Control, Class::Append, Class::Bulk] {
        let reason = refused(dial(&client, &server.transport, class).await);
        assert!(reason.contains("client ann is not admitted"), "{reason}");
    }
    // Nor does anybody believe a server with a client's certificate.
    let impostor = listen(mutual(ann));
    refused(dial(&client, &impostor, Class::Client).await);
    server.accepted_only_who_may().await;
}

/// failures.md row 35: a restored cluster shares the key and must not mix with the old one.
#[tokio::test]
async fn members_of_another_cluster_are_refused_even_under_the_same_key() {
    let server = Server::new();
    let (cert, key) = server.authority.to_parts();
    let green = Authority::from_parts(&cert, &key).unwrap().renamed("green");
    let identity = green.issue_node(NodeId(2), now_ms()).unwrap();
    let error = QuicTransport::bind(None, mutual(identity.clone()), Exec::Threads).err().unwrap();
    assert!(matches!(error, BindError::Identity(IdentityError::Foreign { .. })), "{error:?}");
    let green = Security::Mutual { identity, cluster_id: "green".to_owned() };
    // The dialer refuses first ...
    let reason = refused(dial(&dialer(green.clone()), &server.transport, Class::Control).await);
    assert!(reason.contains("blue"), "{reason}");
    // ... and the server does, if the dialer does not look.
    let mut blind = dialer(green);
    let configs = blind.dialer.configs.clone();
    blind.dialer =
        Arc::new(tls::Dialer { configs, loopback_only: false, cluster_id: Some("blue".to_owned()) });
    let reason = refused(dial(&blind, &server.transport, Class::Control).await);
    assert!(reason.contains("green"), "{reason}");
    server.accepted_only_who_may().await;
}

/// failures.md row 42: another member at a reused address.
#[tokio::test]
async fn the_wrong_member_is_refused() {
    let server = Server::new();
    let member = dialer(mutual(server.authority.issue_node(NodeId(2), now_ms()).unwrap()));
    let reason = refused(member.connect(&address(&server.transport), Class::Control, Some(NodeId(3))).await);
    assert!(reason.contains("n1"), "{reason}");
}

#[tokio::test]
async fn a_joiner_believes_only_the_pinned_authority() {
    let server = Server::new();
    let joiner = dialer(Security::JoinOnly { expect_ca_fingerprint: server.authority.fingerprint() });
    let dialed = dial(&joiner, &server.transport, Class::Join).await.unwrap();
    assert_eq!(dialed.peer(), &Peer::Node(NodeId(1)));
    assert_eq!(server.transport.accept().await.unwrap().peer(), &Peer::Stranger);

    let wrong = dialer(Security::JoinOnly { expect_ca_fingerprint: authority().fingerprint() });
    refused(dial(&wrong, &server.transport, Class::Join).await);
    // Somebody in the middle who shows the right authority's certificate but has another's.
    let mut identity = authority().issue_node(NodeId(1), now_ms()).unwrap();
    identity.ca_der = server.authority.ca_der().to_vec();
    refused(dial(&joiner, &listen(mutual(identity)), Class::Join).await);
    // A client of the cluster is not a member to hand a secret to.
    let client = server.authority.issue_client("ann", now_ms()).unwrap();
    refused(dial(&joiner, &listen(mutual(client)), Class::Join).await);
}

#[tokio::test]
async fn strangers_are_few() {
    let server = Server::new();
    let joiner = dialer(Security::JoinOnly { expect_ca_fingerprint: server.authority.fingerprint() });
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS_MAX {
        strangers.push(dial(&joiner, &server.transport, Class::Join).await.unwrap());
        strangers.push(server.transport.accept().await.unwrap());
    }
    let full = dial(&joiner, &server.transport, Class::Join).await.err().unwrap();
    let ConnectError::Full { reason, .. } = &full else { panic!("{full:?}") };
    assert!(reason.contains("too many strangers"), "{reason}");
    strangers.clear();
    dial(&joiner, &server.transport, Class::Join).await.unwrap();
}

#[tokio::test]
async fn without_security_only_loopback_and_only_among_themselves() {
    let insecure = |id| Security::Insecure { claim: Peer::Node(NodeId(id)) };
    let anywhere = QuicTransport::bind(Some("0.0.0.0:0".parse().unwrap()), insecure(1), Exec::Threads);
    assert!(matches!(anywhere.err().unwrap(), BindError::NotLoopback(_)));
    let (one, two) = (listen(insecure(1)), listen(insecure(2)));
    let dialed = two.connect(&address(&one), Class::Append, Some(NodeId(1))).await.unwrap();
    assert_eq!(one.accept().await.unwrap().peer(), &Peer::Node(NodeId(2)));
    drop(dialed);
    let far = Address("192.0.2.1:7300".to_owned());
    assert!(refused(two.connect(&far, Class::Append, None).await).contains("loopback"));
    let client = dialer(Security::Insecure { claim: Peer::Client("ann".to_owned()) });
    dial(&client, &one, Class::Client).await.unwrap();
    refused(dial(&client, &one, Class::Control).await);

    let server = Server::new();
    refused(dial(&two, &server.transport, Class::Control).await);
    let member = dialer(mutual(server.authority.issue_node(NodeId(2), now_ms()).unwrap()));
    refused(dial(&member, &one, Class::Control).await);
    server.accepted_only_who_may().await;
}

#[tokio::test]
async fn closing_ends_accepting_and_tells_everybody() {
    let server = Server::new();
    let member = dialer(mutual(server.authority.issue_node(NodeId(2), now_ms()).unwrap()));
    let dialed = dial(&member, &server.transport, Class::Control).await.unwrap();
    let _accepted = server.transport.accept().await.unwrap();
    server.transport.close().await;
    dialed.closed().await;
    assert!(server.transport.accept().await.is_none());
    let closed = dial(&server.transport, &member, Class::Control).await;
    assert!(matches!(closed.err().unwrap(), ConnectError::Closed | ConnectError::Unreachable { .. }));
}

/// failures.md row 42: others must not wait for the idle time-out when a member comes back at the same address.
#[test]
fn a_restarted_member_resets_the_connections_of_its_predecessor() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let authority = authority();
    let security = mutual(authority.issue_node(NodeId(1), now_ms()).unwrap());
    let mortal = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = mortal.block_on(async { listen(security.clone()) });
    let at = first.local_addr();
    let (member, dialed) = runtime.block_on(async {
        let member = dialer(mutual(authority.issue_node(NodeId(2), now_ms()).unwrap()));
        let dialed = dial(&member, &first, Class::Control).await.unwrap();
        (member, dialed)
    });
    // Dies without a word: its tasks are gone before anything can be said.
    mortal.shutdown_timeout(Duration::from_secs(5));
    drop(first);
    runtime.block_on(async {
        let _second = QuicTransport::bind(Some(at), security, Exec::Threads).unwrap();
        let mut pipe = dialed.open().await.unwrap();
        let chatter = async {
            while pipe.writer.write_all(&[0; 64]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let sooner = Duration::from_millis(IDLE_TIMEOUT_MS / 2);
        timeout(sooner, chatter).await.expect("the successor answers that it knows nothing");
        drop(member);
    });
}
