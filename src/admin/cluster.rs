//! Describing the cluster.

use std::time::Duration;

use super::handle::Admin;
use crate::{
    client::retry::{Ask, Verdict, response},
    engine::{
        catalog::snapshot::Broker,
        machine::{Answer, Outcome, Target},
    },
    error::{Code, Error, ErrorKind, Result},
    types::NodeId,
    wire::{
        calls::Request,
        messages::{DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse},
        str::Str,
    },
};

/// What a cluster consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// Its id, which it keeps for life. `None` from brokers older than Kafka 0.10.1.
    pub id: Option<String>,
    /// The broker to send admin requests to; `None` while there is none. With KRaft it is not the controller, which
    /// clients do not reach, but any broker, which passes them on (KIP-590).
    pub controller: Option<NodeId>,
    /// The brokers that are up, in the order of their ids.
    pub brokers: Vec<BrokerDescription>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerDescription {
    /// Its id.
    pub id: NodeId,
    /// The host under which clients reach it.
    pub host: String,
    /// The port under which clients reach it.
    pub port: u16,
    /// Where it stands (`broker.rack`), if it is told.
    pub rack: Option<String>,
}

impl Admin {
    /// Describes the cluster, as one broker sees it (KIP-700).
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// let cluster = client.admin().describe_cluster().await?;
    /// println!("cluster {:?} has {} brokers", cluster.id, cluster.brokers.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Whatever kept the last attempt from being answered, with [`ErrorKind::Timeout`] after [`Admin::timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription> {
        match self.ask(DescribeCluster).await {
            // Before Kafka 2.8 a cluster is described together with its topics.
            Err(error) if matches!(error.kind(), ErrorKind::UnsupportedVersion { .. }) => {
                self.ask(DescribeByMetadata).await
            }
            described => described,
        }
    }
}

struct DescribeCluster;

impl Ask for DescribeCluster {
    type Output = ClusterDescription;

    fn target(&self) -> Target {
        Target::Any
    }

    fn request(&self, _patience: Duration) -> Request {
        DescribeClusterRequest::default().into()
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<ClusterDescription> {
        read(outcome, |answer| {
            let response: DescribeClusterResponse = response(answer)?;
            Code::check(response.error_code)
                .map_err(|code| refusal(code, "DescribeCluster", response.error_message))?;
            let brokers = response.brokers.into_iter();
            let brokers = brokers.filter_map(|b| Broker::new(b.broker_id, &b.host, b.port, b.rack));
            Ok(describe(Some(response.cluster_id), response.controller_id, brokers))
        })
    }
}

struct DescribeByMetadata;

impl Ask for DescribeByMetadata {
    type Output = ClusterDescription;

    fn target(&self) -> Target {
        Target::Any
    }

    fn request(&self, _patience: Duration) -> Request {
        let request = MetadataRequest { allow_auto_topic_creation: false, ..MetadataRequest::default() };
        request.into()
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<ClusterDescription> {
        read(outcome, |answer| {
            let response: MetadataResponse = response(answer)?;
            Code::check(response.error_code).map_err(|code| refusal(code, "Metadata", None))?;
            let brokers = response.brokers.into_iter();
            let brokers = brokers.filter_map(|b| Broker::new(b.node_id, &b.host, b.port, b.rack));
            Ok(describe(response.cluster_id, response.controller_id, brokers))
        })
    }
}

fn read<T>(outcome: Outcome, read: impl FnOnce(Answer) -> Result<T>) -> Verdict<T> {
    match outcome.map_err(|failure| failure.error).and_then(read) {
        Ok(value) => Verdict::Done(value),
        Err(error) => Verdict::of(error),
    }
}

fn refusal(code: Code, request: &'static str, message: Option<Str>) -> Error {
    match code {
        Code::CLUSTER_AUTHORIZATION_FAILED => Error::broker(code, request, ""),
        _ => {
            let message =
                message.filter(|message| !message.is_empty()).map(|message| message.as_str().to_owned());
            ErrorKind::Broker { code, request, subject: String::new(), message }.into()
        }
    }
}

fn describe(id: Option<Str>, controller: i32, brokers: impl Iterator<Item = Broker>) -> ClusterDescription {
    let brokers = brokers.map(|broker| BrokerDescription {
        id: broker.id,
        host: broker.host.as_str().to_owned(),
        port: broker.port,
        rack: broker.rack.map(|rack| rack.as_str().to_owned()),
    });
    let mut brokers: Vec<_> = brokers.collect();
    brokers.sort_by_key(|broker| broker.id);
    ClusterDescription {
        id: id.filter(|id| !id.is_empty()).map(|id| id.as_str().to_owned()),
        controller: (controller >= 0).then_some(NodeId(controller)),
        brokers,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{
        engine::script::{answer, failure},
        wire::messages::{
            describe_cluster_response::DescribeClusterBroker, metadata_response::MetadataResponseBroker,
        },
    };

    fn broker(id: i32, rack: Option<&str>) -> BrokerDescription {
        BrokerDescription {
            id: NodeId(id),
            host: format!("kafka-{id}"),
            port: 9092,
            rack: rack.map(str::to_owned),
        }
    }

    #[test]
    fn brokers_are_told_in_order_and_those_that_cannot_be_are_left_out() {
        let told = |broker_id, port, rack: Option<&str>| DescribeClusterBroker {
            broker_id,
            host: format!("kafka-{broker_id}").into(),
            port,
            rack: rack.map(Into::into),
            ..DescribeClusterBroker::default()
        };
        let response = DescribeClusterResponse {
            cluster_id: "id".into(),
            controller_id: 2,
            brokers: vec![
                told(2, 9092, Some("b")),
                told(-1, 9092, None),
                told(3, 0, None),
                told(1, 9092, None),
            ],
            ..DescribeClusterResponse::default()
        };
        let Verdict::Done(cluster) = DescribeCluster.judge(answer(1, response)) else { panic!() };
        let brokers = vec![broker(1, None), broker(2, Some("b"))];
        let expected = ClusterDescription { id: Some("id".into()), controller: Some(NodeId(2)), brokers };
        assert_eq!(cluster, expected);
    }

    #[test]
    fn old_brokers_tell_it_with_their_metadata() {
        let told = MetadataResponseBroker {
            node_id: 1,
            host: "kafka-1".into(),
            port: 9092,
            ..MetadataResponseBroker::default()
        };
        let response = MetadataResponse { brokers: vec![told], ..MetadataResponse::default() };
        let Verdict::Done(cluster) = DescribeByMetadata.judge(answer(5, response)) else { panic!() };
        assert_eq!(
            cluster,
            ClusterDescription { id: None, controller: None, brokers: vec![broker(1, None)] }
        );
    }

    #[test]
    fn refusals_are_typed_and_lost_answers_asked_for_again() {
        let refused = |code: Code| DescribeClusterResponse {
            error_code: code.get(),
            error_message: Some("no".into()),
            ..DescribeClusterResponse::default()
        };
        let denied = DescribeCluster.judge(answer(1, refused(Code::CLUSTER_AUTHORIZATION_FAILED)));
        let Verdict::Fail(error) = denied else { panic!("{denied:?}") };
        assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name.is_empty()), "{error}");

        let wrong = DescribeCluster.judge(answer(1, refused(Code::MISMATCHED_ENDPOINT_TYPE)));
        let Verdict::Fail(error) = wrong else { panic!("{wrong:?}") };
        assert!(matches!(error.kind(), ErrorKind::Broker { message: Some(m), .. } if m == "no"), "{error}");

        let other = DescribeCluster.judge(answer(1, MetadataResponse::default()));
        let Verdict::Retry(error) = other else { panic!("{other:?}") };
        assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{error}");

        assert!(matches!(DescribeCluster.judge(failure()), Verdict::Retry(_)));
    }
}
