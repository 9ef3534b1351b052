//! Kafka's contract for verifiable clients, met by milena: the command lines and the JSON lines of Kafka's own
//! `VerifiableProducer`, `VerifiableConsumer` and `TransactionalMessageCopier`, so that whatever drives those can drive this client.
//!
//! `cargo run -p protocol-tests --bin verifiable -- producer --topic T --bootstrap-server HOST:PORT …`
//!
//! Every line on the standard output is one JSON object, flushed at once; logs go to the standard error, as much as
//! `RUST_LOG` asks for. SIGTERM stops: what was taken is delivered or reported, the client is closed, the status is 0.
//! The status is 1 after a `fatal` line, and 2 where the command line or the properties cannot stand.

#![expect(clippy::print_stderr, reason = "a program speaks on its standard streams")]

mod arguments;
mod consumer;
mod copier;
mod lines;
mod nearest;
mod producer;
mod properties;
mod sending;
mod settings;
mod stop;
mod transactional;

use std::{env, process::ExitCode};

use lines::Lines;
use milena::{Client, Config};
use serde_json::{Value, json};
use stop::Stop;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

const USAGE: &str =
    "usage: verifiable producer|consumer --topic T --bootstrap-server HOST:PORT[,…] [option…]
       verifiable copier --input-topic T --output-topic T --transactional-id X --broker-list HOST:PORT[,…] [option…]";

fn main() -> ExitCode {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run(env::args().skip(1)) {
        Ok(Outcome::Stopped) => ExitCode::SUCCESS,
        Ok(Outcome::Fatal) => ExitCode::from(1),
        Err(reason) => {
            eprintln!("verifiable: {reason}");
            ExitCode::from(2)
        }
    }
}

/// How a program ended that had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Stopped,
    Fatal,
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<Outcome, String> {
    let command = arguments.next().ok_or(USAGE)?;
    let rest: Vec<String> = arguments.collect();
    match command.as_str() {
        "producer" => {
            let options = sending::Options::parse(rest)?;
            drive(async |lines, stop| (producer::run(options, lines, stop).await, json!({})))
        }
        "consumer" => {
            let options = consumer::Options::parse(rest)?;
            drive(async |lines, stop| (consumer::run(options, lines, stop).await, json!({})))
        }
        "copier" => {
            let options = copier::Options::parse(rest)?;
            drive(async |lines, stop| copier::run(options, lines, stop).await)
        }
        _ => Err(format!("unknown command `{command}`\n{USAGE}")),
    }
}

/// Runs a program to its end, and returns when all its lines are out. What it returns stands in the last one.
fn drive(program: impl AsyncFnOnce(Lines, Stop) -> (Outcome, Value)) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("start the runtime: {error}"))?;
    let (lines, writer) = Lines::start();
    let outcome = runtime.block_on(async move {
        let (outcome, summary) = program(lines.clone(), Stop::on_signals()?).await;
        lines.print("shutdown_complete", &summary).await;
        Ok(outcome)
    });
    // Ends the tasks that could still print, and with them the lines.
    drop(runtime);
    writer.join();
    outcome
}

/// Connects, unless it is to stop before: then there is nothing to end.
async fn connect(config: Config, stop: &Stop) -> Option<milena::Result<Client>> {
    tokio::select! {
        connected = Client::connect(config) => Some(connected),
        () = stop.requested() => None,
    }
}
