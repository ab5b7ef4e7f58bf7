//! `DIR/node.json`: where a running node can be found.
//!
//! Promises: written whole, once the node is ready; field names are a contract. A file may outlive its process: `pid`
//! tells. Does not: prove anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::private_file;

/// What a node writes down when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    pub node_id: u64,
    pub pid: u32,
    /// HOST:PORT for nodes and clients.
    pub quic: String,
    /// HOST:PORT for health and metrics.
    pub http: String,
    pub cluster_id: String,
}

impl NodeFile {
    /// Where it is in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("node.json")
    }

    pub fn read(data_dir: &Path) -> Option<NodeFile> {
        serde_json::from_str(&private_file::read(&NodeFile::path(data_dir)).ok()?).ok()
    }

    pub fn write(&self, data_dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).expect("plain fields") + "\n";
        let path = NodeFile::path(data_dir);
        private_file::write(&path, text.as_bytes()).or_fail(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_written_with_numbers_as_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let (quic, http) = ("127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned());
        let file = NodeFile { node_id: 3, pid: 7, quic, http, cluster_id: "c".into() };
        file.write(folder.path()).unwrap();
        assert_eq!(NodeFile::read(folder.path()), Some(file));
        let text = std::fs::read_to_string(NodeFile::path(folder.path())).unwrap();
        assert!(text.contains("\"node_id\": 3"), "{text}");
    }
}
