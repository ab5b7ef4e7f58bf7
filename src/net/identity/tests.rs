//! Names, certificates, requests and tokens. What TLS makes of them is tested with the QUIC transport.

use proptest::prelude::*;

use super::name::{Named, parse, uri};
use super::*;
use crate::net::chance::Chance;

const NOW_MS: u64 = 1_795_000_000_000;

fn authority() -> Authority {
    Authority::create("blue", NOW_MS).unwrap()
}

#[test]
fn certificates_name_members_and_clients() {
    let authority = authority();
    let node = authority.issue_node(NodeId(7), NOW_MS).unwrap();
    assert_eq!(peer_from_certificate(&node.cert_der, "blue").unwrap(), Peer::Node(NodeId(7)));
    let client = authority.issue_client("ann", NOW_MS).unwrap();
    assert_eq!(peer_from_certificate(&client.cert_der, "blue").unwrap(), Peer::Client("ann".to_owned()));
}

#[test]
fn a_certificate_of_another_cluster_names_nobody_here() {
    let node = authority().issue_node(NodeId(7), NOW_MS).unwrap();
    let error = peer_from_certificate(&node.cert_der, "green").unwrap_err();
    assert!(matches!(error, IdentityError::Foreign { found, .. } if found == "blue"));
}

#[test]
fn the_authoritys_own_certificate_is_no_peer() {
    let authority = authority();
    assert!(peer_from_certificate(authority.ca_der(), "blue").is_err());
}

#[test]
fn the_authority_survives_being_stored() {
    let (cert, key) = authority().to_parts();
    let again = Authority::from_parts(&cert, &key).unwrap();
    assert_eq!(again.cluster_id(), "blue");
    assert_eq!(again.fingerprint(), fingerprint(&cert));
    let request = NodeKey::generate().unwrap();
    let signed = again.sign_node(&request.csr_der, NodeId(3), NOW_MS).unwrap();
    assert_eq!(peer_from_certificate(&signed, "blue").unwrap(), Peer::Node(NodeId(3)));
}

#[test]
fn an_authority_needs_its_own_key() {
    let (cert, _) = authority().to_parts();
    let (_, key) = authority().to_parts();
    assert!(Authority::from_parts(&cert, &key).is_err());
}

#[test]
fn only_the_key_of_a_request_is_used() {
    // A request that asks to be member 1, an authority, and everybody's server.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut greedy = rcgen::CertificateParams::new(["example.org".to_owned()]).unwrap();
    let name = uri("blue", &Named::Peer(Peer::Node(NodeId(1))));
    greedy.subject_alt_names.push(rcgen::SanType::URI(name.try_into().unwrap()));
    greedy.distinguished_name.push(rcgen::DnType::CommonName, "n1");
    let request = greedy.serialize_request(&key).unwrap();
    let signed = authority().sign_node(request.der(), NodeId(9), NOW_MS).unwrap();
    assert_eq!(peer_from_certificate(&signed, "blue").unwrap(), Peer::Node(NodeId(9)));
    assert!(!signed.windows(11).any(|window| window == b"example.org"));
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let request = NodeKey::generate().unwrap();
    assert!(authority().sign_node(&request.csr_der, NodeId(2), NOW_MS).is_ok());
    let mut forged = request.csr_der.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(authority().sign_node(&forged, NodeId(2), NOW_MS).is_err());
}

#[test]
fn requests_with_another_kind_of_key_or_too_large_are_refused() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    assert!(authority().sign_node(request.der(), NodeId(2), NOW_MS).is_err());
    assert!(authority().sign_node(&vec![0x30; 1 << 20], NodeId(2), NOW_MS).is_err());
}

#[test]
fn a_repeated_request_has_the_same_key_hash() {
    let (one, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    assert_eq!(request_key_hash(&one.csr_der).unwrap(), request_key_hash(&one.csr_der).unwrap());
    assert_ne!(request_key_hash(&one.csr_der).unwrap(), request_key_hash(&other.csr_der).unwrap());
}

#[test]
fn an_identity_survives_being_text() {
    let identity = authority().issue_client("ann", NOW_MS).unwrap();
    assert_eq!(Identity::from_pem(&identity.to_pem()).unwrap(), identity);
    let without_key = identity.to_pem().split("-----BEGIN PRIVATE").next().unwrap().to_owned();
    assert!(Identity::from_pem(&without_key).is_err());
    assert!(Identity::from_pem("").is_err());
}

/// failures.md, Security, Secrets: nothing secret is printed by accident.
#[test]
fn nothing_secret_is_shown() {
    let authority = authority();
    let identity = authority.issue_client("ann", NOW_MS).unwrap();
    let token = JoinToken::generate(&authority.fingerprint(), &Secrets::System);
    let shown = format!("{authority:?} {identity:?} {token:?} {:?}", NodeKey::generate().unwrap());
    let word = token.to_string();
    let secret = word.rsplit('.').next().unwrap();
    assert!(shown.contains("ann") && shown.contains(&token.id));
    assert!(!shown.contains(secret));
    assert!(shown.len() < 300, "{shown}");
    // A mistyped token is still nearly a token.
    let error = format!("{word}0").parse::<JoinToken>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn names_must_be_plain() {
    assert!(authority().issue_client("a/../node/1", NOW_MS).is_err());
    assert!(authority().issue_client("", NOW_MS).is_err());
    assert!(authority().issue_client(&"x".repeat(65), NOW_MS).is_err());
    assert!(Authority::create("blue/node", NOW_MS).is_err());
}

#[test]
fn tokens_are_one_word_and_survive_it() {
    let token = JoinToken::generate(&authority().fingerprint(), &Secrets::System);
    let word = token.to_string();
    assert!(word.starts_with("nn1.") && !word.contains(char::is_whitespace));
    assert_eq!(format!(" {word}\n").parse::<JoinToken>().unwrap(), token);
    for broken in
        ["", "nn1", "nn1...", "nn2.0.0.0", &word[1..], &word[..word.len() - 1], &format!("{word}.00")]
    {
        assert!(broken.parse::<JoinToken>().is_err(), "{broken}");
    }
}

#[test]
fn only_a_simulated_cluster_draws_the_same_secrets_again() {
    let simulated = || Secrets::Simulated(Chance::from_seed(1));
    assert_eq!(JoinToken::generate("00", &simulated()), JoinToken::generate("00", &simulated()));
    let one = simulated();
    assert_ne!(JoinToken::generate("00", &one), JoinToken::generate("00", &one));
    assert_ne!(JoinToken::generate("00", &Secrets::System), JoinToken::generate("00", &Secrets::System));
}

#[test]
fn only_the_right_secret_matches() {
    let (token, other) =
        (JoinToken::generate("00", &Secrets::System), JoinToken::generate("00", &Secrets::System));
    assert!(secret_matches(&token.secret_hash(), token.secret()));
    assert!(!secret_matches(&token.secret_hash(), other.secret()));
    assert!(!secret_matches(&token.secret_hash()[..31], token.secret()));
    assert!(!secret_matches(&[], &[]));
}

proptest! {
    #[test]
    fn uris_come_back(cluster in "[A-Za-z0-9._-]{1,64}", client in "[A-Za-z0-9._-]{1,64}", node: u64) {
        for named in [Named::Authority, Named::Peer(Peer::Client(client)), Named::Peer(Peer::Node(NodeId(node)))] {
            prop_assert_eq!(parse(&uri(&cluster, &named)), Some((cluster.clone(), named)));
        }
    }

    #[test]
    fn hostile_text_never_panics(text in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text);
        let _ = parse(&format!("nodenomad://{text}"));
        let _ = text.parse::<JoinToken>();
        let _ = format!("nn1.{text}").parse::<JoinToken>();
        let _ = Identity::from_pem(&text);
        prop_assert!(peer_from_certificate(&bytes, "blue").is_err());
        prop_assert!(request_key_hash(&bytes).is_err());
    }
}
