//! A network in memory, which works with tokio's paused clock.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::handle::Handle;
use crate::net::transport::{BoxFuture, Stream, Transport};
use crate::types::NodeId;

/// What one direction of a connection holds before its writer waits.
const PIPE_BYTES: usize = 256 * 1024;
/// The port of every node; their addresses differ.
const PORT: u16 = 9092;

/// A network of nodes that exist in this process only. Addresses are made up, names are not looked up anywhere.
#[derive(Clone, Debug)]
pub(in crate::testing) struct Network {
    machine: Handle,
    /// The nodes that take connections.
    nodes: Arc<Mutex<BTreeMap<SocketAddr, NodeId>>>,
}

impl Network {
    pub(in crate::testing) fn new(machine: Handle) -> Self {
        Self { machine, nodes: Arc::default() }
    }

    /// Where a node is found: `10.0.0.0` plus its id.
    pub(in crate::testing) fn address(node: NodeId) -> SocketAddr {
        let host = u32::from(Ipv4Addr::new(10, 0, 0, 0)) | (node.0.unsigned_abs() & 0x00ff_ffff);
        SocketAddr::new(IpAddr::V4(Ipv4Addr::from(host)), PORT)
    }

    /// Lets a node take connections, or refuse them.
    pub(in crate::testing) fn listen(&self, node: NodeId, on: bool) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            nodes.insert(Self::address(node), node);
        } else {
            nodes.remove(&Self::address(node));
        }
    }

    fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }
}

impl Transport for Network {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let unknown =
                || io::Error::new(io::ErrorKind::NotFound, format!("no such host in memory: {host}"));
            Ok(vec![SocketAddr::new(host.parse().map_err(|_| unknown())?, port)])
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let node = self.node_at(address).ok_or_else(refused)?;
            let (client, broker) = tokio::io::duplex(PIPE_BYTES);
            self.machine.accept(node, Box::new(broker)).await.map_err(|_| refused())?;
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}
