//! Commands against a cluster of real processes, and what they answer.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Cluster;

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs `nomad` with these words on this input.
pub fn feed(cluster: &Cluster, line: &str, input: &[u8]) -> Answer {
    let (code, out, err) = cluster.nomad_with(&line.split(' ').collect::<Vec<_>>(), input);
    Answer { code: code.expect("it exits"), out, err }
}

pub fn run(cluster: &Cluster, line: &str) -> Answer {
    feed(cluster, line, b"")
}

/// As [`run`]; it must exit with 0.
pub fn done(cluster: &Cluster, line: &str) -> Answer {
    let answer = run(cluster, line);
    assert_eq!(answer.code, 0, "{line}: {answer:?}");
    answer
}

/// It must exit with this, print nothing on stdout and say the three parts of an error on stderr.
pub fn fails(cluster: &Cluster, line: &str, code: i32) -> Answer {
    let answer = run(cluster, line);
    assert_eq!((answer.code, answer.text()), (code, ""), "{line}: {answer:?}");
    assert!(answer.err.starts_with("error: ") && answer.err.contains("\ntry: "), "{line}: {answer:?}");
    answer
}

pub fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

pub fn assert_has(value: &Value, names: &str) {
    let fields = fields(value);
    let missing: Vec<&str> = names.split(' ').filter(|name| !fields.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value}");
}
