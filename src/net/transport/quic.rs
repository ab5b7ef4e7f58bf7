//! A stand-in with a name for the real file: nobody answers.
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::model::id::NodeId;
use crate::net::transport::{Address, Class, ConnectError, Connection, Transport};

pub struct Quic;

impl Transport for Quic {
    fn connect(
        &self,
        to: &Address,
        _class: Class,
        _expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Arc<dyn Connection>, ConnectError>> {
        let address = to.0.clone();
        Box::pin(async move { Err(ConnectError::Unreachable { address, source: "a stand-in".into() }) })
    }
    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>> {
        Box::pin(async { None })
    }
    fn local_addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
