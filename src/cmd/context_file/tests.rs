//! Tests of context files.

use super::*;

fn context(name: &str) -> Context {
    Context {
        name: name.into(),
        endpoints: vec!["127.0.0.1:7300".into()],
        insecure: true,
        ..Context::default()
    }
}

#[test]
fn contexts_come_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let contexts = Contexts::in_folder(folder.path().join("new"));
    assert!(contexts.names().unwrap().is_empty() && contexts.current().unwrap().is_none());
    let pem = "-----BEGIN X-----\nYQ==\n-----END X-----\n".to_owned();
    let secure = Context {
        insecure: false,
        ca: Some(pem.clone()),
        cert: Some(pem.clone()),
        key: Some(pem),
        timeout: Some("3s".into()),
        ..context("prod")
    };
    contexts.save(&secure).unwrap();
    contexts.save(&context("lab")).unwrap();
    assert!(contexts.get("prod").unwrap() == secure);
    assert_eq!(contexts.names().unwrap(), ["lab", "prod"]);
    assert_eq!(contexts.current().unwrap(), None);
    contexts.choose("lab").unwrap();
    assert_eq!(contexts.current().unwrap().as_deref(), Some("lab"));
    contexts.remove("lab").unwrap();
    assert_eq!(contexts.current().unwrap().as_deref(), Some("prod"), "the only one left");
}

#[test]
fn default_is_in_use_unless_another_was_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let contexts = Contexts::in_folder(folder.path().to_owned());
    for name in ["a", "default", "z"] {
        contexts.save(&context(name)).unwrap();
    }
    assert_eq!(contexts.current().unwrap().as_deref(), Some("default"));
    assert_eq!(contexts.choose("nope").unwrap_err().exit, Exit::Usage);
    contexts.choose("z").unwrap();
    assert_eq!(contexts.current().unwrap().as_deref(), Some("z"));
}

#[test]
fn names_cannot_leave_the_folder() {
    let contexts = Contexts::in_folder("/nowhere".into());
    for wrong in ["", "../x", "a/b", ".hidden", "-x", "a b", &"x".repeat(65)] {
        assert!(contexts.path(wrong).is_err(), "{wrong}");
    }
    assert!(contexts.path("ok-1.2_3").is_ok());
}

#[test]
fn damaged_contexts_are_refused_without_quoting_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let wrong = [
        "endpoints = []\ninsecure = true",
        "endpoints = ['nowhere']\ninsecure = true",
        "endpoints = ['a:1']",
        "endpoints = ['a:1']\nca = 'x'",
        "endpoints = ['a:1']\ninsecure = true\nca = 'x'\ncert = 'x'\nkey = 'x'",
        "key = 'SECRET\n",
    ];
    for text in wrong {
        std::fs::write(&path, text).unwrap();
        let failure = Context::read(&path).err().expect(text);
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!failure.render(str::to_owned).contains("SECRET"));
    }
}

#[test]
fn endpoints_follow_the_members_but_not_off_the_map() {
    let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(refreshed(&list("a:1"), &list("a:1 b:1")), list("a:1 b:1"));
    assert_eq!(refreshed(&list("a:1 gone:1"), &list("a:1 b:1")), list("a:1 b:1"));
    // Behind an address translation members go by other names.
    assert_eq!(refreshed(&list("public:1"), &list("a:1 b:1")), list("public:1 a:1 b:1"));
    assert_eq!(refreshed(&list("a:1"), &[]), list("a:1"));
}

#[test]
fn endpoints_look_like_host_and_port() {
    for right in ["a:1", "127.0.0.1:7300", "[::1]:7300", "[fe80::1%eth0]:7300", "db-1.example.com:65535"] {
        assert!(is_endpoint(right), "{right}");
    }
    for wrong in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:7300", "a b:1", "http://a:1", "[]:1"] {
        assert!(!is_endpoint(wrong), "{wrong}");
    }
}
