//! The broker that both clients send to.

use std::error::Error;
use std::time::Duration;

use milena::{Client, Config, NewTopic};
use protocol_tests::broker::{RealCluster, Version};
use protocol_tests::proxy::{Condition, Proxy, Reaction, Rule};
use tokio::runtime::{Builder, Runtime};

use crate::null_broker::NullBroker;
use crate::task::Task;
use crate::workload::{Side, Workload};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Which broker.
#[derive(Clone, Debug)]
pub(crate) enum Broker {
    /// One that acknowledges at once and keeps nothing, in this process: so only the clients are measured.
    Null,
    /// A real one, started for this.
    Kafka(Version),
    /// One that runs already.
    At(String),
}

/// A broker that runs, with a proxy before it where it is to be far away. Dropped, what was started is gone.
pub(crate) struct Stage {
    broker: Broker,
    bootstrap: String,
    runtime: Runtime,
    _kafka: Option<RealCluster>,
    _proxy: Option<Proxy>,
}

impl Stage {
    pub(crate) fn set(broker: &Broker, workload: &Workload) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let proxy = match workload.delay {
            Duration::ZERO => None,
            delay => Some(runtime.block_on(far(delay))?),
        };
        if matches!(broker, Broker::Null) && workload.side != Side::Send {
            return Err("the null broker keeps nothing that could be read: name another".into());
        }
        let mut kafka = None;
        let address = match broker {
            Broker::Null => {
                let advertised = proxy.as_ref().map(|proxy| proxy.port(1));
                NullBroker::start(i32::try_from(workload.partitions)?, advertised)?.address()
            }
            Broker::Kafka(version) => {
                // What was written is not kept: it would be some gigabytes.
                let builder =
                    RealCluster::builder(*version).with_property("log.segment.delete.delay.ms", "0");
                let builder = match &proxy {
                    Some(proxy) => {
                        let advertised = format!("PLAINTEXT://127.0.0.1:{}", proxy.port(1));
                        builder.with_node_property(1, "advertised.listeners", advertised)
                    }
                    None => builder,
                };
                kafka.insert(builder.start()?).address(1)?
            }
            Broker::At(_) if proxy.is_some() => {
                return Err("a broker that runs already sends clients to itself, past the proxy".into());
            }
            Broker::At(address) => address.clone(),
        };
        let bootstrap = match &proxy {
            Some(proxy) => {
                proxy.forward(1, address);
                proxy.bootstrap()
            }
            None => address,
        };
        Ok(Self { broker: broker.clone(), bootstrap, runtime, _kafka: kafka, _proxy: proxy })
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    pub(crate) fn describe(&self) -> String {
        match &self.broker {
            Broker::Null => "null broker".to_owned(),
            Broker::Kafka(version) => format!("Kafka {}", version.as_str()),
            Broker::At(address) => format!("the broker at {address}"),
        }
    }

    /// Writes what is to be read.
    pub(crate) fn fill(&self, task: &Task) -> Result<()> {
        self.runtime.block_on(crate::milena::send(task)).map(drop)
    }

    /// Does something while there is a topic of this name, new and empty.
    pub(crate) fn with_topic(
        &self,
        name: &str,
        partitions: u32,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if matches!(self.broker, Broker::Null) {
            return work();
        }
        let client = self.runtime.block_on(Client::connect(Config::new([self.bootstrap()])))?;
        let admin = client.admin();
        let topic = NewTopic::new(name).partitions(partitions);
        for (_, outcome) in self.runtime.block_on(admin.create_topics([topic]))? {
            outcome?;
        }
        let ended = work();
        for (_, outcome) in self.runtime.block_on(admin.delete_topics([name]))? {
            outcome?;
        }
        ended
    }
}

/// A proxy that passes every request on so much later, and answers at once: a round trip of that length.
async fn far(delay: Duration) -> Result<Proxy> {
    let proxy = Proxy::bind(1).await?;
    proxy.add(Rule::new(Condition::Any, Reaction::Delay(delay)));
    Ok(proxy)
}
