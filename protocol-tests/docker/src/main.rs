//! Starts Apache Kafka in a container, runs a command with `MILENA_BOOTSTRAP` set to it, and ends with the command's
//! status. For machines that have a Docker engine and no Java.
//!
//! `cargo run --manifest-path protocol-tests/docker/Cargo.toml -- [VERSION] -- COMMAND…`
//!
//! Without a command the container runs until the standard input ends.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The version that is started unless another one is named.
const NEWEST: &str = "4.4.0";
/// An image may have to be fetched first.
const START_TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let version = arguments.next().filter(|argument| argument != "--");
    if version.is_some() && arguments.next().is_some_and(|argument| argument != "--") {
        return Err("usage: [VERSION] -- COMMAND…".into());
    }
    let port = free_port()?;
    let kafka = start(version.as_deref().unwrap_or(NEWEST), port).await?;
    let bootstrap = format!("127.0.0.1:{port}");
    println!("bootstrap={bootstrap}");
    let status = match arguments.next() {
        None => {
            tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
            Some(0)
        }
        Some(program) => {
            let command = Command::new(&program).args(arguments).env("MILENA_BOOTSTRAP", bootstrap).status();
            command.await.map_err(|error| format!("run {program}: {error}"))?.code()
        }
    };
    kafka.rm().await?;
    // A command that a signal ended has no code.
    Ok(status.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// One node, broker and controller, that tells clients the port under which the host reaches it.
async fn start(version: &str, port: u16) -> Result<ContainerAsync<GenericImage>, Box<dyn Error>> {
    let settings = [
        ("KAFKA_NODE_ID", "1".to_owned()),
        ("KAFKA_PROCESS_ROLES", "broker,controller".to_owned()),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093".to_owned()),
        ("KAFKA_LISTENERS", format!("PLAINTEXT://:{port},CONTROLLER://:9093")),
        ("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "PLAINTEXT".to_owned()),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1".to_owned()),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1".to_owned()),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1".to_owned()),
        ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "1".to_owned()),
        ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "1".to_owned()),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0".to_owned()),
        ("KAFKA_LOG_CLEANER_BACKOFF_MS", "200".to_owned()),
    ];
    let image = GenericImage::new("apache/kafka", version)
        .with_wait_for(WaitFor::message_on_stdout("Kafka Server started"))
        .with_mapped_port(port, ContainerPort::Tcp(port))
        .with_startup_timeout(START_TIMEOUT);
    let image = settings.into_iter().fold(image, |image, (key, value)| image.with_env_var(key, value));
    Ok(image.start().await?)
}

/// Free now, and hopefully until the container takes it.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
