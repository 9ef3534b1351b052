//! The cluster: its nodes, how they start, and what a test may do to them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::error::BrokerError;
use super::jars;
use super::listener::{Certificates, Listener, scram_users};
use super::once;
use super::ports::{self, Port};
use super::probe;
use super::process::{Process, java};
use super::properties::{NodePorts, NodeProperties};
use super::version::Version;

/// Four seconds on an idle machine; the rest is for one that compiles at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
/// Any id will do: the base64url form of 16 bytes.
const CLUSTER_ID: &str = "bWlsZW5hLXRlc3RzLWthZg";

/// How a cluster is to be.
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing until `start` is called"]
pub struct Builder {
    version: Version,
    nodes: usize,
    listeners: BTreeSet<Listener>,
    properties: Vec<(String, String)>,
    node_properties: Vec<(i32, String, String)>,
}

impl Builder {
    /// How many nodes, each of them broker and controller. The default is 1; 3 is the least that survives a loss.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Adds listeners to the one in plaintext. Those with TLS need openssl, which makes their certificates.
    pub fn listeners(mut self, listeners: impl IntoIterator<Item = Listener>) -> Self {
        self.listeners.extend(listeners);
        self
    }

    /// Sets a property of `server.properties` on every node, over the harness's own.
    pub fn with_property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// Sets a property on one node, over what all nodes have. Node ids begin at 1.
    pub fn with_node_property(mut self, node: i32, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.node_properties.push((node, key.into(), value.into()));
        self
    }

    /// Starts the cluster and waits until every node serves clients and knows all the others.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when Java, Maven or the jars are missing; [`BrokerError::Failed`] when a node does
    /// not come up.
    pub fn start(self) -> Result<RealCluster, BrokerError> {
        let jars = jars::resolve(self.version)?;
        let per_node = 1 + self.listeners.len();
        let reserved = ports::reserve(per_node * self.nodes)?;
        let ports: Vec<NodePorts> = reserved.chunks_exact(per_node).map(|ports| self.ports(ports)).collect();
        let directory = run_directory();
        let has_tls = self.listeners.iter().any(|listener| listener.has_tls());
        let certificates =
            has_tls.then(|| Certificates::make(&directory.join("certificates"))).transpose()?;
        let has_sasl = self.listeners.iter().any(|listener| listener.has_sasl());
        let users = if has_sasl { scram_users() } else { Vec::new() };
        let nodes = ports.iter().zip(1..).map(|(own, id)| {
            let directory = directory.join(format!("node-{id}"));
            let (ports, jars, users) = (own.clone(), jars.clone(), users.clone());
            Mutex::new(Node { id, ports, directory, jars, users, process: None })
        });
        let nodes = nodes.collect();
        let failed = AtomicBool::new(true);
        let reserved = Mutex::new(reserved);
        let cluster = RealCluster { builder: self, directory, jars, certificates, nodes, failed, reserved };
        cluster.configure()?;
        cluster.start_all()?;
        cluster.failed.store(false, Ordering::Relaxed);
        Ok(cluster)
    }

    /// Which of a node's ports is for whom.
    fn ports(&self, ports: &[Port]) -> NodePorts {
        let mut numbers = ports.iter().map(|port| port.number);
        let controller = numbers.next().unwrap_or_default();
        NodePorts { controller, clients: self.listeners.iter().copied().zip(numbers).collect() }
    }

    /// What is set for a node: its own properties come last, and win.
    fn properties_of(&self, node: i32) -> Vec<(String, String)> {
        let own = self.node_properties.iter().filter(|(of, ..)| *of == node);
        let own = own.map(|(_, key, value)| (key.clone(), value.clone()));
        self.properties.iter().cloned().chain(own).collect()
    }
}

/// A running cluster of real brokers. Its processes and data are gone once it is dropped, or once this process is;
/// the logs stay when the test fails.
#[derive(Debug)]
pub struct RealCluster {
    builder: Builder,
    directory: PathBuf,
    jars: PathBuf,
    certificates: Option<Certificates>,
    nodes: Vec<Mutex<Node>>,
    failed: AtomicBool,
    /// Kept while a node is down, so that it finds its port again.
    reserved: Mutex<Vec<Port>>,
}

impl RealCluster {
    /// Starts a cluster of `nodes` nodes with the harness's own settings.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start(version: Version, nodes: usize) -> Result<Self, BrokerError> {
        Self::builder(version).nodes(nodes).start()
    }

    /// A cluster to be described further.
    pub fn builder(version: Version) -> Builder {
        Builder {
            version,
            nodes: 1,
            listeners: BTreeSet::from([Listener::Plaintext]),
            properties: Vec::new(),
            node_properties: Vec::new(),
        }
    }

    /// Which Kafka it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.builder.version
    }

    /// The addresses of all nodes, as `bootstrap.servers` takes them.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.bootstrap_of(Listener::Plaintext).unwrap_or_default()
    }

    /// The addresses of all nodes at a listener; none if they do not have it.
    #[must_use]
    pub fn bootstrap_of(&self, listener: Listener) -> Option<String> {
        let addresses = self.nodes.iter().map(|node| locked(node).address_of(listener));
        addresses.collect::<Option<Vec<_>>>().map(|addresses| addresses.join(","))
    }

    /// The certificates, where a listener has TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Java with the classes of this Kafka, Java's client among them.
    #[must_use]
    pub fn java(&self) -> Command {
        kafka(&self.jars)
    }

    /// The address of one node. Node ids begin at 1.
    ///
    /// # Errors
    /// [`BrokerError::UnknownNode`].
    pub fn address(&self, node: i32) -> Result<String, BrokerError> {
        Ok(self.node(node)?.address())
    }

    /// Where the configuration, the data and the logs lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends a node without warning, as a crash does. Ending one that is down does nothing.
    ///
    /// # Errors
    /// [`BrokerError::UnknownNode`].
    pub fn kill(&self, node: i32) -> Result<(), BrokerError> {
        drop(self.node(node)?.process.take());
        Ok(())
    }

    /// Shuts a node down in order: it hands over its leaders first. Where the system has no signals, kills it.
    ///
    /// # Errors
    /// [`BrokerError::UnknownNode`].
    pub fn stop(&self, node: i32) -> Result<(), BrokerError> {
        if let Some(process) = self.node(node)?.process.take() {
            process.stop();
        }
        Ok(())
    }

    /// Starts a node that is down on its old port with its old data (a running one is stopped first), and waits until
    /// it serves clients.
    ///
    /// # Errors
    /// [`BrokerError::UnknownNode`], or [`BrokerError::Failed`] when it does not come up.
    pub fn restart(&self, node: i32) -> Result<(), BrokerError> {
        self.stop(node)?;
        let mut node = self.node(node)?;
        node.start()?;
        let id = node.id;
        node.wait_until_it_lists(&[id])
    }

    /// Freezes a node: its connections stay open and nothing moves on them.
    ///
    /// # Errors
    /// [`BrokerError::UnknownNode`], [`BrokerError::Io`].
    #[cfg(unix)]
    pub fn pause(&self, node: i32) -> Result<(), BrokerError> {
        self.node(node)?.process.as_ref().map_or(Ok(()), Process::freeze)
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// [`BrokerError::UnknownNode`], [`BrokerError::Io`].
    #[cfg(unix)]
    pub fn resume(&self, node: i32) -> Result<(), BrokerError> {
        self.node(node)?.process.as_ref().map_or(Ok(()), |process| process.signal("CONT"))
    }

    /// Brings every node back into service that was paused, killed or stopped, and waits until all know each other.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub fn heal(&self) -> Result<(), BrokerError> {
        for node in &self.nodes {
            let mut node = locked(node);
            #[cfg(unix)]
            node.process.as_ref().map_or(Ok(()), |process| process.signal("CONT"))?;
            if node.process.as_mut().is_none_or(|process| process.exited().is_some()) {
                node.start()?;
            }
        }
        self.wait_until_all_are_listed()
    }

    /// Ends all nodes, and starts them again with their data, at other ports for clients.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn move_all(&self) -> Result<(), BrokerError> {
        let listeners = self.builder.listeners.len();
        let reserved = ports::reserve(listeners * self.nodes.len())?;
        for (node, ports) in self.nodes.iter().zip(reserved.chunks_exact(listeners)) {
            let mut node = locked(node);
            drop(node.process.take());
            let numbers = ports.iter().map(|port| port.number);
            node.ports.clients = self.builder.listeners.iter().copied().zip(numbers).collect();
        }
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner).extend(reserved);
        self.configure()?;
        self.nodes.iter().try_for_each(|node| locked(node).start())?;
        self.wait_until_all_are_listed()
    }

    /// Writes the configuration of every node.
    fn configure(&self) -> Result<(), BrokerError> {
        let ports: Vec<NodePorts> = self.nodes.iter().map(|node| locked(node).ports.clone()).collect();
        for node in &self.nodes {
            let node = locked(node);
            let (data, config) = (node.data(), node.directory.join("server.properties"));
            fs::create_dir_all(&data).map_err(BrokerError::io(format!("create {}", data.display())))?;
            let properties = NodeProperties {
                version: self.builder.version,
                node: node.id,
                ports: &ports,
                certificates: self.certificates.as_ref(),
                data: &data,
                extra: &self.builder.properties_of(node.id),
            };
            fs::write(&config, properties.text())
                .map_err(BrokerError::io(format!("write {}", config.display())))?;
        }
        Ok(())
    }

    /// Keeps configuration and logs when the cluster is dropped, as is done where a test fails on this thread.
    pub fn keep_logs(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    fn node(&self, id: i32) -> Result<MutexGuard<'_, Node>, BrokerError> {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        let node = index.and_then(|index| self.nodes.get(index));
        node.map(locked).ok_or(BrokerError::UnknownNode { node: id, nodes: self.nodes.len() })
    }

    fn start_all(&self) -> Result<(), BrokerError> {
        thread::scope(|scope| {
            let formats: Vec<_> =
                self.nodes.iter().map(|node| scope.spawn(|| locked(node).format())).collect();
            formats
                .into_iter()
                .try_for_each(|format| format.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        self.nodes.iter().try_for_each(|node| locked(node).start())?;
        self.wait_until_all_are_listed()
    }

    fn wait_until_all_are_listed(&self) -> Result<(), BrokerError> {
        let all: Vec<i32> = self.nodes.iter().map(|node| locked(node).id).collect();
        self.nodes.iter().try_for_each(|node| locked(node).wait_until_it_lists(&all))
    }
}

impl Drop for RealCluster {
    #[expect(clippy::print_stderr, reason = "whoever sees the test fail must find the logs")]
    fn drop(&mut self) {
        for node in &self.nodes {
            drop(locked(node).process.take());
        }
        if self.failed.load(Ordering::Relaxed) || thread::panicking() {
            eprintln!("the brokers' configuration and logs are kept in {}", self.directory.display());
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// One node, running or down.
#[derive(Debug)]
struct Node {
    id: i32,
    ports: NodePorts,
    directory: PathBuf,
    jars: PathBuf,
    /// Arguments that make users when the storage is formatted.
    users: Vec<String>,
    process: Option<Process>,
}

impl Node {
    fn address(&self) -> String {
        self.address_of(Listener::Plaintext).unwrap_or_default()
    }

    fn address_of(&self, listener: Listener) -> Option<String> {
        self.ports.clients.get(&listener).map(|port| format!("127.0.0.1:{port}"))
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("broker.log")
    }

    /// Writes the cluster's id and the first metadata into the data directory.
    fn format(&self) -> Result<(), BrokerError> {
        let mut command = kafka(&self.jars);
        command.current_dir(&self.directory);
        command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", "server.properties"]);
        command.args(&self.users);
        let log = self.directory.join("format.log");
        let mut process = Process::start(&mut command, &log, &self.data())?;
        let status = wait_for(|| process.exited());
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let said = tail(&log);
                if said.contains("UnsupportedClassVersionError") {
                    return Err(BrokerError::Unavailable { reason: format!("Java is too old:\n{said}") });
                }
                Err(self.failed("format the storage of", format!("ended with {status}:\n{said}")))
            }
            None => Err(self.failed("format the storage of", format!("took longer than {START_TIMEOUT:?}"))),
        }
    }

    fn start(&mut self) -> Result<(), BrokerError> {
        let mut command = kafka(&self.jars);
        command.current_dir(&self.directory);
        command.args(["kafka.Kafka", "server.properties"]);
        self.process = Some(Process::start(&mut command, &self.log(), &self.data())?);
        Ok(())
    }

    /// Waits until this node answers clients and says that these brokers are in service.
    fn wait_until_it_lists(&mut self, expected: &[i32]) -> Result<(), BrokerError> {
        let mut last = String::from("not asked yet");
        let (address, log) = (self.address(), self.log());
        let up = wait_for(|| {
            if let Some(status) = self.process.as_mut().and_then(Process::exited) {
                return Some(Err(format!("it ended with {status}:\n{}", tail(&log))));
            }
            match probe::api_versions(&address).and_then(|_| probe::brokers(&address)) {
                Ok(listed) if expected.iter().all(|id| listed.contains(id)) => return Some(Ok(())),
                Ok(listed) => {
                    last = format!("it lists the brokers {listed:?}, and {expected:?} are waited for");
                }
                Err(error) => last = error.to_string(),
            }
            None
        });
        let timed_out = || Err(format!("not up after {START_TIMEOUT:?} ({last}):\n{}", tail(&log)));
        up.unwrap_or_else(timed_out).map_err(|reason| self.failed("start", reason))
    }

    fn failed(&self, what: &str, reason: String) -> BrokerError {
        BrokerError::Failed {
            what: format!("{what} node {}", self.id),
            reason,
            directory: self.directory.clone(),
        }
    }
}

/// Java with the classes of this Kafka, as [`RealCluster::java`], where no cluster of it is needed.
///
/// # Errors
/// [`BrokerError::Unavailable`] when Maven or the jars are missing.
pub fn java_of(version: Version) -> Result<Command, BrokerError> {
    Ok(kafka(&jars::resolve(version)?))
}

/// Java with Kafka's classes, made to start quickly rather than to run fast for days.
fn kafka(jars: &Path) -> Command {
    let mut command = java();
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
    command.arg("-cp").arg(jars.join("*"));
    command
}

/// Polls until there is something, or gives up after [`START_TIMEOUT`].
fn wait_for<T>(mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(value) = poll() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(POLL);
    }
}

/// A test that panicked while it held a node leaves the node as usable as it was.
fn locked(node: &Mutex<Node>) -> MutexGuard<'_, Node> {
    node.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory of its own for every cluster of every process.
fn run_directory() -> PathBuf {
    static CLUSTERS: AtomicUsize = AtomicUsize::new(0);
    let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let started = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    once::home().join("run").join(format!("{started}-{}-{number}", std::process::id()))
}

/// The last lines of a log, for the message of an error.
fn tail(log: &Path) -> String {
    const LINES: usize = 30;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
