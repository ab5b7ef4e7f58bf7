//! A stand-in with the names that the real file will have: nothing starts.
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::id::NodeId;
use crate::model::wire::NodeRecord;
use crate::net::identity::Identity;

pub enum Start {
    Resume,
    Bootstrap { split_at: Vec<Vec<u8>> },
    Join { addresses: Vec<String>, token: String },
}
pub struct ServerOptions {
    pub data_dir: PathBuf,
    pub mode: Start,
    pub listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub advertise: Option<String>,
    pub zone: String,
    pub weight: u32,
    pub insecure: bool,
}
pub struct ReadyInfo {
    pub node_id: NodeId,
    pub cluster_id: String,
    pub quic: String,
    pub http: String,
    pub join_line: Option<String>,
    pub admin_identity: Option<Identity>,
}
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the node is a stand-in")]
    StandIn,
}
pub struct Server {}
impl Server {
    pub async fn start(_options: ServerOptions) -> Result<Server, StartError> {
        Err(StartError::StandIn)
    }
    pub fn ready_info(&self) -> ReadyInfo {
        unreachable!("a stand-in never starts")
    }
    pub fn members(&self) -> Vec<NodeRecord> {
        Vec::new()
    }
    pub async fn stopped(&self) {}
    pub async fn shutdown(&self) {}
}
