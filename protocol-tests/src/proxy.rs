//! A proxy between clients and brokers that makes the network misbehave, by rules.
//!
//! ```no_run
//! use std::time::Duration;
//! use protocol_tests::broker::{RealCluster, Version};
//! use protocol_tests::proxy::{Condition, Proxy, Reaction, Rule};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = Proxy::bind(1).await?;
//! // Clients are sent to the proxy, which knows the way on.
//! let advertised = format!("PLAINTEXT://127.0.0.1:{}", proxy.port(1));
//! let cluster = RealCluster::builder(Version::V4_4_0).with_node_property(1, "advertised.listeners", advertised);
//! let cluster = cluster.start()?;
//! proxy.forward(1, cluster.address(1)?);
//!
//! // Of the Produce requests (API key 0), every tenth or so is carried out and never answered, five at most.
//! let rule = Rule::new(Condition::Api(0).and(Condition::Chance(0.1)), Reaction::DropAnswer).times(5);
//! let hits = proxy.add(rule);
//! // And everything is slow.
//! proxy.add(Rule::new(Condition::Any, Reaction::Delay(Duration::from_millis(20))));
//! println!("clients connect to {}; {} answers dropped", proxy.bootstrap(), hits.count());
//! # Ok(()) }
//! ```
//!
//! It understands frames and the head of a request (length, API key, version, correlation id) and nothing more. What
//! is on its way through it is bounded: at most [`IN_TRANSIT`] bytes for each direction of a connection.

mod answers;
mod pipe;
mod relay;
mod requests;
mod rule;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

pub use pipe::IN_TRANSIT;
use rule::Rules;
pub use rule::{Condition, Hits, Reaction, Request, Rule};

/// The most connections at once; more wait to be accepted.
const CONNECTIONS: usize = 512;

/// A running proxy, with one port of loopback for each node. Dropped, it closes everything.
#[derive(Debug)]
pub struct Proxy {
    ports: Vec<u16>,
    shared: Arc<Shared>,
    _listeners: JoinSet<()>,
}

/// What listeners and connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    upstream: Mutex<BTreeMap<i32, String>>,
    rules: Mutex<Rules>,
    connections: AtomicU64,
    open: Arc<Semaphore>,
}

impl Proxy {
    /// Listens on a free port for each of the nodes 1 to `nodes`. Connections are closed until it is told where to
    /// [`forward`](Self::forward) them.
    ///
    /// # Errors
    /// What the system said.
    pub async fn bind(nodes: i32) -> io::Result<Self> {
        Self::bind_with_seed(nodes, 0).await
    }

    /// As [`bind`](Self::bind), with the seed of what [`Condition::Chance`] draws.
    ///
    /// # Errors
    /// As there.
    pub async fn bind_with_seed(nodes: i32, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            upstream: Mutex::default(),
            rules: Mutex::new(Rules::new(seed)),
            connections: AtomicU64::new(0),
            open: Arc::new(Semaphore::new(CONNECTIONS)),
        });
        let (mut ports, mut listeners) = (Vec::new(), JoinSet::new());
        for node in 1..=nodes {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.push(listener.local_addr()?.port());
            listeners.spawn(relay::listen(listener, node, Arc::clone(&shared)));
        }
        Ok(Self { ports, shared, _listeners: listeners })
    }

    /// The port that stands for a node; 0 where there is no such node. Node ids begin at 1.
    #[must_use]
    pub fn port(&self, node: i32) -> u16 {
        let index = usize::try_from(node).ok().and_then(|node| node.checked_sub(1));
        index.and_then(|index| self.ports.get(index)).copied().unwrap_or(0)
    }

    /// All addresses, as `bootstrap.servers` takes them.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        addresses.join(",")
    }

    /// Forwards new connections for a node to `address` from now on.
    pub fn forward(&self, node: i32, address: impl Into<String>) {
        locked(&self.shared.upstream).insert(node, address.into());
    }

    /// Puts a rule in force, behind those that are in force already. The handle tells how often it has hit.
    pub fn add(&self, rule: Rule) -> Hits {
        locked(&self.shared.rules).add(rule)
    }

    /// Ends all rules. What they have done to a connection, such as a limit, stays.
    pub fn clear(&self) {
        locked(&self.shared.rules).clear();
    }
}

impl Shared {
    /// Where connections for a node go.
    fn upstream(&self, node: i32) -> Option<String> {
        locked(&self.upstream).get(&node).cloned()
    }

    /// Numbers connections from 1.
    fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the rules do to a request.
    fn react(&self, request: &Request) -> Vec<Reaction> {
        locked(&self.rules).hit(request)
    }
}

/// A test that panicked while it held the lock leaves what it guards as usable as it was.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
