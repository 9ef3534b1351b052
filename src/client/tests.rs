//! The client over an in-memory network with hand-made brokers. Time is tokio's and paused.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::{
    net::fake::{Network, Reply},
    wire::messages::{MetadataRequest, MetadataResponse},
};

fn metadata() -> Request {
    MetadataRequest { topics: Some(vec![]), ..MetadataRequest::default() }.into()
}

async fn connect(network: &Network, bootstrap: &[&str]) -> Result<Client> {
    Client::connect_over(network.clone(), Config::new(bootstrap.iter().copied())).await
}

#[tokio::test(start_paused = true)]
async fn a_call_gets_its_answer() {
    let network = Network::default();
    network.broker("b1:9092", 1, |_| Reply::Never);
    let client = connect(&network, &["b1:9092"]).await.unwrap();
    let answer =
        client.call(Target::Any, Purpose::General, metadata(), Duration::from_secs(1)).await.unwrap();
    assert!(MetadataResponse::try_from(answer.response).is_ok());
    assert_eq!(client.snapshot().brokers().len(), 1);
}
