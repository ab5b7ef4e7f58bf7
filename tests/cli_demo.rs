//! The guided tour as a newcomer takes it: it comes to its end by itself, and leaves nothing behind.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const STEPS: [&str; 10] =
    ["start", "load", "read", "fail over", "restart", "join", "cancel", "undo", "drain", "verify"];

/// What is in a directory, as a text for people.
fn content(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_tour_comes_to_its_end_and_leaves_nothing_behind() {
    let (home, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut nomad = Command::cargo_bin("nomad").expect("the binary was built");
    nomad.env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).env("TMPDIR", temporary.path());
    let output = nomad.args(["demo", "-o", "json"]).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let rows: Value = serde_json::from_slice(&output.stdout).expect(&told);
    let steps: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["step"].as_str().unwrap()).collect();
    assert_eq!(steps, STEPS, "{told}");
    assert!(rows[9]["result"].as_str().unwrap().ends_with("9 replicas equal"), "{rows}");
    assert_eq!((content(home.path()), content(temporary.path())), (vec![], vec![]), "{told}");
}
