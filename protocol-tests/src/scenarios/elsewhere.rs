//! 40: a cluster whose nodes all come back at other addresses.

use std::collections::BTreeMap;

use milena::{Client, Config};

use super::groups::write_and_read;
use crate::proxy::Proxy;
use crate::suite::Stage;
use crate::target::Running;

const NODES: i32 = 3;

/// 40: all nodes go, and come back at other ports. Of what a client knows nothing holds any more but its bootstrap addresses,
/// behind which they are found again (KIP-899); nothing is lost, and nothing comes twice.
pub(crate) async fn s40_all_nodes_come_back_on_other_ports(stage: Stage) {
    let mut place = Place::new(&stage).await;
    let door = place.door.bootstrap();
    let client = Client::connect(Config::new(door.split(','))).await.unwrap();
    let topic = stage.topic(&client, 3).await;
    let member = client.consumer(stage.name("group")).topics([topic.as_str()]).build().unwrap();
    let producer = client.producer().build().unwrap();
    let (mut read, mut written) = (BTreeMap::new(), 0..);
    for _ in 0..2 {
        write_and_read(&producer, &topic, &member, &mut written, &mut read).await;
        member.commit().await.unwrap();
        place.move_all(&stage).await;
        write_and_read(&producer, &topic, &member, &mut written, &mut read).await;
    }
    place.leave(&stage).await;
    assert_eq!(read.len(), 400);
    assert!(read.values().all(|times| *times == 1), "none came twice: {read:?}");
}

/// Where the cluster is.
struct Place {
    /// Stands at the bootstrap addresses, and always leads to the nodes.
    door: Proxy,
    /// The embedded nodes keep their ports: these are what they advertise.
    ports: Option<Proxy>,
}

impl Place {
    async fn new(stage: &Stage) -> Self {
        let door = Proxy::bind(NODES).await.unwrap();
        let mut place = Self { door, ports: None };
        if stage.cluster().embedded().is_some() {
            place.move_embedded(stage).await;
        }
        place.lead_to(stage);
        place
    }

    fn lead_to(&self, stage: &Stage) {
        for (node, address) in (1..).zip(stage.cluster().bootstrap()) {
            self.door.forward(node, address);
        }
    }

    async fn move_all(&mut self, stage: &Stage) {
        match stage.cluster() {
            Running::Embedded(_) => {
                for node in 1..=NODES {
                    stage.cluster().kill(node).await.unwrap();
                }
                self.move_embedded(stage).await;
                for node in 1..=NODES {
                    stage.cluster().start_again(node).await.unwrap();
                }
            }
            cluster => cluster.move_all().await.unwrap(),
        }
        self.lead_to(stage);
    }

    /// The embedded nodes advertise their own ports again, for those who come after.
    async fn leave(self, stage: &Stage) {
        let Some(cluster) = stage.cluster().embedded() else { return };
        for (node, address) in (1..).zip(cluster.bootstrap()) {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            cluster.advertise(node, "127.0.0.1", port.unwrap()).await.unwrap();
        }
    }

    /// Nobody listens at the old ports any more.
    async fn move_embedded(&mut self, stage: &Stage) {
        self.ports = None;
        let ports = Proxy::bind(NODES).await.unwrap();
        let Some(cluster) = stage.cluster().embedded() else { return };
        for (node, address) in (1..).zip(cluster.bootstrap()) {
            ports.forward(node, address);
            cluster.advertise(node, "127.0.0.1", ports.port(node)).await.unwrap();
        }
        self.ports = Some(ports);
    }
}
