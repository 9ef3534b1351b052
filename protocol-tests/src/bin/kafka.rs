//! Starts a real Kafka, runs a command with `MILENA_BOOTSTRAP` set to it, and ends with the command's status.
//!
//! `cargo run -p protocol-tests --bin kafka -- [--nodes N] [--version V] [--property KEY=VALUE]… [-- COMMAND…]`
//!
//! Without a command the brokers run until the standard input ends.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks on its standard streams")]

use std::error::Error;
use std::io::Read;
use std::process::{Command, ExitCode};
use std::{env, io};

use protocol_tests::broker::{RealCluster, Version};

fn main() -> ExitCode {
    match run() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse(env::args().skip(1))?;
    let cluster = RealCluster::builder(arguments.version).nodes(arguments.nodes);
    let cluster = arguments
        .properties
        .into_iter()
        .fold(cluster, |cluster, (key, value)| cluster.with_property(key, value));
    let cluster = cluster.start()?;
    println!("bootstrap={}", cluster.bootstrap());
    let Some((program, rest)) = arguments.command.split_first() else {
        io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new(program).args(rest).env("MILENA_BOOTSTRAP", cluster.bootstrap()).status();
    let status = status.map_err(|error| format!("run {program}: {error}"))?;
    // A command that a signal ended has no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

struct Arguments {
    nodes: usize,
    version: Version,
    properties: Vec<(String, String)>,
    command: Vec<String>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed =
            Self { nodes: 1, version: Version::V4_4_0, properties: Vec::new(), command: Vec::new() };
        while let Some(name) = arguments.next() {
            if name == "--" {
                parsed.command = arguments.collect();
                break;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--nodes" => {
                    parsed.nodes = value.parse().map_err(|error| format!("--nodes {value}: {error}"))?;
                }
                "--version" => parsed.version = value.parse()?,
                "--property" => {
                    let (key, value) = value.split_once('=').ok_or("--property needs KEY=VALUE")?;
                    parsed.properties.push((key.to_owned(), value.to_owned()));
                }
                _ => {
                    return Err(format!("unknown option `{name}`; known are --nodes, --version, --property"));
                }
            }
        }
        if parsed.nodes == 0 {
            return Err("--nodes 0: a cluster has at least one node".to_owned());
        }
        Ok(parsed)
    }
}
