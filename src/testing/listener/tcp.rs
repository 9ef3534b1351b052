//! Listening on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::runtime::Handle as Runtime;
use tokio::task::JoinHandle;

use super::handle::Handle;
use crate::types::NodeId;

/// Takes connections for one node, until it is dropped.
#[derive(Debug)]
pub(in crate::testing) struct Listener {
    task: JoinHandle<()>,
}

/// A port of loopback that is bound, and not served yet.
#[derive(Debug)]
pub(in crate::testing) struct Bound {
    socket: TcpListener,
    port: u16,
}

impl Bound {
    /// Binds a port, or a free one for port 0.
    pub(in crate::testing) async fn bind(port: u16) -> io::Result<Self> {
        let socket = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port })
    }

    pub(in crate::testing) fn port(&self) -> u16 {
        self.port
    }

    /// Takes connections to `node` from now on.
    pub(in crate::testing) fn serve(self, runtime: &Runtime, node: NodeId, machine: Handle) -> Listener {
        let socket = self.socket;
        let task = runtime.spawn(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else {
                    // A client that has gone before it was accepted, or too many open files: others may still come.
                    pause().await;
                    continue;
                };
                // Without it small answers wait for the client's acknowledgement; with an error they only come later.
                let _ = stream.set_nodelay(true);
                if machine.accept(node, Box::new(stream)).await.is_err() {
                    return;
                }
            }
        });
        Listener { task }
    }
}

impl Listener {
    /// Stops listening, and returns when the port is free.
    pub(in crate::testing) async fn stop(mut self) {
        self.task.abort();
        // It was cancelled, which is what is wanted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the driver that must not spin while the process has no free file"
)]
async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}
