//! The configuration of one node.

use std::collections::BTreeMap;
use std::path::Path;

use super::listener::{Certificates, Listener};
use super::version::Version;

/// What a node needs to know.
pub(crate) struct NodeProperties<'a> {
    pub(crate) version: Version,
    pub(crate) node: i32,
    /// The ports of each node, the first node's first.
    pub(crate) ports: &'a [NodePorts],
    /// For listeners with TLS.
    pub(crate) certificates: Option<&'a Certificates>,
    pub(crate) data: &'a Path,
    /// What the test wants different.
    pub(crate) extra: &'a [(String, String)],
}

/// The ports of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodePorts {
    /// For other controllers.
    pub(crate) controller: u16,
    /// For clients, by listener.
    pub(crate) clients: BTreeMap<Listener, u16>,
}

impl NodeProperties<'_> {
    /// The text of `server.properties`.
    pub(crate) fn text(&self) -> String {
        let mut all = self.identity();
        all.extend(self.replication());
        all.extend(self.economy());
        all.extend(self.own_ports().clients.keys().flat_map(|listener| listener.properties()));
        all.extend(self.certificates.into_iter().flat_map(Certificates::properties));
        all.extend(self.extra.iter().cloned());
        all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    fn own_ports(&self) -> &NodePorts {
        &self.ports[usize::try_from(self.node - 1).unwrap_or_default()]
    }

    fn identity(&self) -> BTreeMap<String, String> {
        let NodePorts { controller, clients } = self.own_ports();
        let voters =
            self.ports.iter().zip(1..).map(|(ports, node)| format!("{node}@127.0.0.1:{}", ports.controller));
        let addresses = clients.iter().map(|(name, port)| format!("{}://127.0.0.1:{port}", name.as_str()));
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let protocols = clients.keys().map(|name| format!("{0}:{0}", name.as_str())).collect::<Vec<_>>();
        owned([
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", self.node.to_string()),
            ("controller.quorum.voters", voters.collect::<Vec<_>>().join(",")),
            ("listeners", format!("{addresses},CONTROLLER://127.0.0.1:{controller}")),
            ("advertised.listeners", addresses),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("listener.security.protocol.map", format!("{},CONTROLLER:PLAINTEXT", protocols.join(","))),
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
            // By default a dead member of the consumer protocol is missed after 45 s, and one told after 5 s.
            ("group.consumer.min.session.timeout.ms", "6000"),
            ("group.consumer.session.timeout.ms", "6000"),
            ("group.consumer.min.heartbeat.interval.ms", "1000"),
            ("group.consumer.heartbeat.interval.ms", "1000"),
            // A killed node may come back once its old session is over.
            ("broker.heartbeat.interval.ms", "500"),
            ("broker.session.timeout.ms", "6000"),
        ])
    }
}

fn owned<const N: usize>(properties: [(&str, impl Into<String>); N]) -> BTreeMap<String, String> {
    properties.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}
