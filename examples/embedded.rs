//! Runs an embedded cluster for any Kafka client to talk to, until Ctrl-C.
//!
//! `cargo run --features testing --example embedded -- 3 orders:6 payments:2` starts three nodes with two topics and
//! prints their addresses, as `bootstrap.servers` takes them.
#![allow(clippy::print_stdout, reason = "a program's output")]

use milena::testing::Cluster;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes = arguments.next().map_or(Ok(1), |nodes| nodes.parse())?;
    let mut builder = Cluster::builder().nodes(nodes);
    for topic in arguments {
        let (name, partitions) = topic.split_once(':').unwrap_or((&topic, "1"));
        builder = builder.topic(name, partitions.parse()?);
    }
    let cluster = builder.start().await?;
    println!("{}", cluster.bootstrap().join(","));
    tokio::signal::ctrl_c().await?;
    cluster.shutdown().await;
    Ok(())
}
