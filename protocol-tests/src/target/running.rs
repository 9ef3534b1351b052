//! A cluster that runs, and what may be done to its nodes, whatever it is made of.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use milena::testing::{Api, Cluster, Fault, FaultHandle, Rule};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::Target;
use crate::broker::{BrokerError, RealCluster, orders};

/// Why something could not be done to a node.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Has leaders send consumers that say where they are to a replica in the same rack (KIP-392).
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Where each node stands: alone.
fn racks(nodes: usize) -> impl Iterator<Item = String> {
    (1..=nodes).map(|node| format!("rack-{node}"))
}

/// A cluster that runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Running {
    /// In this process.
    Embedded(Embedded),
    /// In Java.
    Kafka(Arc<RealCluster>),
    /// Somebody else's.
    Given {
        /// Its addresses.
        bootstrap: Vec<String>,
    },
}

/// The embedded cluster, on a runtime of its own: it outlives the scenarios that use it, and their runtimes.
#[derive(Debug)]
pub struct Embedded {
    cluster: Arc<Cluster>,
    paused: Mutex<Vec<(i32, FaultHandle)>>,
    nodes: usize,
    runtime: Runtime,
}

impl Running {
    /// Starts what the target names.
    ///
    /// # Errors
    /// [`BrokerError`]; its `Unavailable` where this machine lacks what the target needs.
    pub fn start(target: &Target) -> Result<Self, BrokerError> {
        match target {
            Target::Embedded { nodes } => Embedded::start(*nodes).map(Self::Embedded),
            // Brokers that create topics when they are asked to show whether the client asks them. Compaction, which a
            // scenario waits for, looks at the logs every 15 s by default.
            Target::Kafka { version, nodes } => {
                let cluster = RealCluster::builder(*version)
                    .nodes(*nodes)
                    .with_property("auto.create.topics.enable", "true")
                    .with_property("log.cleaner.backoff.ms", "200")
                    .with_property("replica.selector.class", RACK_AWARE);
                let cluster = (1..).zip(racks(*nodes)).fold(cluster, |cluster, (node, rack)| {
                    cluster.with_node_property(node, "broker.rack", rack)
                });
                cluster.start().map(|cluster| Self::Kafka(Arc::new(cluster)))
            }
            Target::Given { bootstrap } => {
                Ok(Self::Given { bootstrap: bootstrap.split(',').map(str::to_owned).collect() })
            }
        }
    }

    /// The addresses of all nodes.
    #[must_use]
    pub fn bootstrap(&self) -> Vec<String> {
        match self {
            Self::Embedded(embedded) => embedded.cluster.bootstrap(),
            Self::Kafka(cluster) => cluster.bootstrap().split(',').map(str::to_owned).collect(),
            Self::Given { bootstrap } => bootstrap.clone(),
        }
    }

    /// The embedded cluster, for what only it can do.
    #[must_use]
    pub fn embedded(&self) -> Option<&Cluster> {
        match self {
            Self::Embedded(embedded) => Some(&embedded.cluster),
            _ => None,
        }
    }

    /// Ends a node without warning.
    ///
    /// # Errors
    /// That there is no such node, or that this cluster's nodes are not ours.
    pub async fn kill(&self, node: i32) -> Result<(), Failure> {
        match self {
            Self::Embedded(embedded) => embedded.stop(node).await,
            Self::Kafka(cluster) => blocking(cluster, move |cluster| cluster.kill(node)).await,
            Self::Given { .. } => Err(not_ours()),
        }
    }

    /// Shuts a node down in order, where there is a difference.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub async fn stop(&self, node: i32) -> Result<(), Failure> {
        match self {
            Self::Embedded(embedded) => embedded.stop(node).await,
            Self::Kafka(cluster) => blocking(cluster, move |cluster| cluster.stop(node)).await,
            Self::Given { .. } => Err(not_ours()),
        }
    }

    /// Starts a node again, at its address and with its data, and waits until it serves clients.
    ///
    /// # Errors
    /// As [`kill`](Self::kill), and that it does not come up.
    pub async fn start_again(&self, node: i32) -> Result<(), Failure> {
        match self {
            Self::Embedded(embedded) => embedded.start_again(node).await,
            Self::Kafka(cluster) => blocking(cluster, move |cluster| cluster.restart(node)).await,
            Self::Given { .. } => Err(not_ours()),
        }
    }

    /// Ends all nodes of a cluster from its jars, and starts them again at other ports.
    ///
    /// # Errors
    /// As [`start_again`](Self::start_again).
    pub async fn move_all(&self) -> Result<(), Failure> {
        match self {
            Self::Kafka(cluster) => blocking(cluster, RealCluster::move_all).await,
            _ => Err(not_ours()),
        }
    }

    /// Freezes a node: its connections stay open and nothing comes from it.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub async fn pause(&self, node: i32) -> Result<(), Failure> {
        match self {
            Self::Embedded(embedded) => embedded.pause(node).await,
            #[cfg(unix)]
            Self::Kafka(cluster) => blocking(cluster, move |cluster| cluster.pause(node)).await,
            _ => Err(not_ours()),
        }
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub async fn resume(&self, node: i32) -> Result<(), Failure> {
        match self {
            Self::Embedded(embedded) => embedded.resume(node).await,
            #[cfg(unix)]
            Self::Kafka(cluster) => blocking(cluster, move |cluster| cluster.resume(node)).await,
            _ => Err(not_ours()),
        }
    }

    /// Makes another replica the leader of a partition. It leads once the brokers have learnt of it.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn move_leader(&self, topic: &str, partition: i32, replicas: Vec<i32>) -> Result<(), Failure> {
        if let Some(cluster) = self.embedded() {
            let to = *replicas.first().ok_or("a partition has a replica")?;
            return Ok(cluster.move_leader(topic, partition, to).await?);
        }
        let topic = topic.to_owned();
        self.order(move |address| orders::lead(address, &topic, partition, &replicas)).await
    }

    /// Adds partitions to a topic until it has `total`.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn add_partitions(&self, topic: &str, total: usize) -> Result<(), Failure> {
        if let Some(cluster) = self.embedded() {
            return Ok(cluster.add_partitions(topic, total).await?);
        }
        let (topic, total) = (topic.to_owned(), i32::try_from(total)?);
        self.order(move |address| orders::add_partitions(address, &topic, total)).await
    }

    /// Deletes a partition's records below an offset, as retention does. `leader` is the address of its leader.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn delete_records(&self, leader: String, topic: &str, before: i64) -> Result<(), Failure> {
        if let Some(cluster) = self.embedded() {
            cluster.delete_records(topic, 0, before).await?;
            return Ok(());
        }
        let topic = topic.to_owned();
        let deleted = move || orders::delete_records(&leader, &topic, 0, before);
        Ok(tokio::task::spawn_blocking(deleted).await??)
    }

    /// Compacts partition 0 of a topic: at once where that can be asked for, else in the log cleaner's own time.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn compact(&self, topic: &str) -> Result<(), Failure> {
        match self.embedded() {
            Some(cluster) if !cluster.compact(topic, 0).await? => Err("no such compacted topic".into()),
            _ => Ok(()),
        }
    }

    /// Makes the brokers throttle what writes under this client id: by a quota that its records exceed, or by a rule.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn throttle_producers(&self, client_id: &str) -> Result<(), Failure> {
        /// Far less than a scenario writes, and enough for its throttle to end within seconds.
        const BYTES_PER_SECOND: f64 = 50_000.0;
        const THROTTLE: Duration = Duration::from_millis(300);
        if let Some(cluster) = self.embedded() {
            let throttled = Rule::new(Fault::Throttle(THROTTLE)).on(Api::Produce).client_id(client_id);
            cluster.fault(throttled).await?;
            return Ok(());
        }
        let client_id = client_id.to_owned();
        self.order(move |address| orders::limit_producers(address, &client_id, BYTES_PER_SECOND)).await
    }

    /// The node that coordinates a group, where there is one.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn coordinator(&self, group: &str) -> Result<Option<i32>, Failure> {
        let group = group.to_owned();
        self.order(move |address| orders::coordinator(address, &group)).await
    }

    /// Gives an order to the first broker that takes it.
    async fn order<T: Send + 'static>(
        &self,
        give: impl Fn(&str) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let addresses = self.bootstrap();
        let given = tokio::task::spawn_blocking(move || {
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in &addresses {
                match give(address) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error,
                }
            }
            Err(last)
        });
        Ok(given.await??)
    }

    /// Brings every node back into service.
    pub(super) async fn heal(&self) -> Result<(), Failure> {
        match self {
            Self::Embedded(embedded) => {
                for node in embedded.ids() {
                    embedded.resume(node).await?;
                    embedded.start_again(node).await?;
                }
                Ok(())
            }
            Self::Kafka(cluster) => blocking(cluster, RealCluster::heal).await,
            Self::Given { .. } => Ok(()),
        }
    }

    /// Keeps the logs when the cluster is dropped: something has failed on it.
    pub(super) fn keep_logs(&self) {
        if let Self::Kafka(cluster) = self {
            cluster.keep_logs();
        }
    }
}

impl Embedded {
    fn start(nodes: usize) -> Result<Self, BrokerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(BrokerError::io("start a runtime"))?;
        let count = u16::try_from(nodes).unwrap_or(u16::MAX);
        let cluster = runtime.block_on(
            Cluster::builder()
                .nodes(count)
                .racks(racks(nodes))
                .settings(|settings| {
                    settings.auto_create_topics = true;
                    settings.rack_aware_replicas = true;
                })
                .start(),
        );
        let cluster = cluster
            .map_err(|error| BrokerError::io("start the embedded cluster")(io::Error::other(error)))?;
        Ok(Self { cluster: Arc::new(cluster), paused: Mutex::new(Vec::new()), nodes, runtime })
    }

    fn ids(&self) -> impl Iterator<Item = i32> + use<> {
        (1..).take(self.nodes)
    }

    async fn stop(&self, node: i32) -> Result<(), Failure> {
        Ok(self.cluster.stop_node(node).await?)
    }

    /// On the cluster's own runtime: the listener's socket must not end with the scenario's.
    async fn start_again(&self, node: i32) -> Result<(), Failure> {
        let cluster = Arc::clone(&self.cluster);
        Ok(self.runtime.spawn(async move { cluster.start_node(node).await }).await??)
    }

    async fn pause(&self, node: i32) -> Result<(), Failure> {
        let frozen = self.cluster.fault(Rule::new(Fault::Ignore).node(node)).await?;
        self.paused.lock().await.push((node, frozen));
        Ok(())
    }

    async fn resume(&self, node: i32) -> Result<(), Failure> {
        let mut paused = self.paused.lock().await;
        let (these, others) = std::mem::take(&mut *paused).into_iter().partition(|(other, _)| *other == node);
        *paused = others;
        let these: Vec<(i32, FaultHandle)> = these;
        for (_, rule) in these {
            rule.remove().await?;
        }
        Ok(())
    }
}

async fn blocking(
    cluster: &Arc<RealCluster>,
    act: impl FnOnce(&RealCluster) -> Result<(), BrokerError> + Send + 'static,
) -> Result<(), Failure> {
    let cluster = Arc::clone(cluster);
    Ok(tokio::task::spawn_blocking(move || act(&cluster)).await??)
}

fn not_ours() -> Failure {
    "the nodes of this cluster are not ours to stop".into()
}
