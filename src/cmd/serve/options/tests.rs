//! Tests of precedence and of what a node may be told.

use clap::Parser;

use super::*;
use crate::cmd::exit::Exit;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    serve: Serve,
}

fn decide(args: &str, file: &str) -> Result<Decided, Failure> {
    let only =
        Only::try_parse_from(std::iter::once("x").chain(args.split_whitespace())).expect("valid flags");
    only.serve.over(toml::from_str(file).expect("a valid file"))
}

#[test]
fn defaults() {
    let decided = decide("--data /d", "").unwrap();
    assert_eq!(decided.beginning, Beginning::Resume);
    assert_eq!((decided.listen, decided.http), (LISTEN_DEFAULT, LISTEN_DEFAULT));
    assert_eq!(
        (decided.weight, decided.log_level.as_str(), decided.log_format),
        (100, "info", LogFormat::Human)
    );
}

#[test]
fn a_flag_wins_over_the_file() {
    let file = r#"
        data = "/file"
        listen = "127.0.0.1:1"
        zone = "file"
        weight = 7
        split-at = ["m"]
        bootstrap = true
        log-format = "json"
    "#;
    let decided = decide("--data /flag --zone flag --split-at a,b", file).unwrap();
    assert_eq!((decided.data.to_str(), decided.zone.as_str()), (Some("/flag"), "flag"));
    assert_eq!((decided.weight, decided.log_format), (7, LogFormat::Json));
    assert_eq!((decided.listen.port(), decided.http.port()), (1, 1), "http follows listen");
    assert_eq!(decided.split_at, [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(decided.beginning, Beginning::Bootstrap);
}

#[test]
fn how_to_begin_comes_whole_from_one_place() {
    let file = "data = '/d'\nbootstrap = true\ntoken = 'T'";
    let decided = decide("--join a:1,b:2", file).unwrap();
    let members = vec!["a:1".to_owned(), "b:2".to_owned()];
    assert_eq!(decided.beginning, Beginning::Join { members, token: "T".into() });
}

#[test]
fn what_cannot_be_is_a_usage_error() {
    let wrong = [
        "",
        "--data /d --bootstrap --join a:1 --token T",
        "--data /d --join a:1",
        "--data /d --join nowhere --token T",
        "--data /d --insecure --listen 10.0.0.1:1",
        "--data /d --insecure --http 10.0.0.1:1",
        "--data /d --listen 0.0.0.0:7300",
        "--data /d --advertise here",
        "--data /d --weight 0",
        "--data /d --zone a/b",
        "--data /d --split-at m",
    ];
    for args in wrong {
        assert_eq!(decide(args, "").unwrap_err().exit, Exit::Usage, "{args}");
    }
    assert_eq!(decide("--data /d --bootstrap --split-at _/x", "").unwrap_err().exit, Exit::Forbidden);
}

#[test]
fn unknown_words_in_the_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, "data = '/d'\nlissen = '127.0.0.1:1'\n").unwrap();
    let failure = Serve { config: Some(path), ..Serve::default() }.decide().unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.because[0].contains("lissen"), "{failure:?}");
}
