//! The configuration of one node.

use std::collections::BTreeMap;
use std::path::Path;

use super::version::Version;

/// What a node needs to know.
pub(crate) struct NodeProperties<'a> {
    pub(crate) version: Version,
    pub(crate) node: i32,
    /// The port for clients and the port for the controllers of each node, the first node's first.
    pub(crate) ports: &'a [(u16, u16)],
    pub(crate) data: &'a Path,
    /// What the test wants different.
    pub(crate) extra: &'a [(String, String)],
}

impl NodeProperties<'_> {
    /// The text of `server.properties`.
    pub(crate) fn text(&self) -> String {
        let mut all = self.identity();
        all.extend(self.replication());
        all.extend(self.economy());
        all.extend(self.extra.iter().cloned());
        all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    fn identity(&self) -> BTreeMap<String, String> {
        let index = usize::try_from(self.node - 1).unwrap_or_default();
        let (port, controller) = self.ports[index];
        let voters = self.ports.iter().zip(1..).map(|((_, port), node)| format!("{node}@127.0.0.1:{port}"));
        let client = format!("PLAINTEXT://127.0.0.1:{port}");
        owned([
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", self.node.to_string()),
            ("controller.quorum.voters", voters.collect::<Vec<_>>().join(",")),
            ("listeners", format!("{client},CONTROLLER://127.0.0.1:{controller}")),
            ("advertised.listeners", client),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
            // A properties file takes a backslash for an escape, and Java takes `/` everywhere.
            ("log.dirs", self.data.display().to_string().replace('\\', "/")),
        ])
    }

    fn replication(&self) -> BTreeMap<String, String> {
        let nodes = self.ports.len();
        let in_sync = nodes.div_ceil(2);
        let mut properties = owned([
            ("default.replication.factor", nodes.to_string()),
            ("min.insync.replicas", in_sync.to_string()),
            ("offsets.topic.replication.factor", nodes.to_string()),
            ("transaction.state.log.replication.factor", nodes.to_string()),
            ("transaction.state.log.min.isr", in_sync.to_string()),
            ("group.coordinator.rebalance.protocols", self.version.rebalance_protocols().to_owned()),
        ]);
        if self.version != Version::V3_9_1 {
            properties.extend(owned([
                ("share.coordinator.state.topic.replication.factor", nodes.to_string()),
                ("share.coordinator.state.topic.min.isr", in_sync.to_string()),
                ("share.coordinator.state.topic.num.partitions", "4".to_owned()),
            ]));
        }
        properties
    }

    /// Small and quick: few partitions of the internal topics, few threads, no waiting for more members.
    fn economy(&self) -> BTreeMap<String, String> {
        owned([
            ("auto.create.topics.enable", "false"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("log.cleaner.dedupe.buffer.size", "8388608"),
            ("num.io.threads", "4"),
            ("num.network.threads", "2"),
            ("num.partitions", "1"),
            ("offsets.topic.num.partitions", "4"),
            ("transaction.state.log.num.partitions", "4"),
            // A killed node may come back once its old session is over.
            ("broker.heartbeat.interval.ms", "500"),
            ("broker.session.timeout.ms", "6000"),
        ])
    }
}

fn owned<const N: usize>(properties: [(&str, impl Into<String>); N]) -> BTreeMap<String, String> {
    properties.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}
