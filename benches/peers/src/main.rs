//! milena's producer and librdkafka's, side by side: the processor time, rate and memory that the same records cost, on
//! the same broker, in turns. See the README.

mod arguments;
#[path = "../../support/events.rs"]
mod events;
mod librdkafka;
mod measure;
mod milena;
#[path = "../../support/null_broker.rs"]
#[allow(dead_code, reason = "the other bench needs more of it")]
mod null_broker;
mod report;
mod stage;
mod task;
mod workload;

use std::error::Error;
use std::process::ExitCode;
use std::{env, io};

use arguments::Arguments;
use report::Report;
use stage::Stage;
use task::{CLIENTS, Task};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match Task::from_arguments(&arguments) {
        Some(task) => task.and_then(|task| child(&task)),
        None => parent(arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Measures each client in turn, in a process of its own each time: so none warms up for the other, and the peak of
/// memory is its own.
fn parent(arguments: Vec<String>) -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse(arguments)?;
    let mut passed = true;
    for workload in &arguments.workloads {
        let stage = Stage::set(&arguments.broker, workload)?;
        let records = arguments.records.unwrap_or(workload.records);
        let mut report = Report::default();
        for round in 0..arguments.rounds {
            for client in CLIENTS {
                let topic = format!("peers-{}-{client}-{round}", workload.name);
                stage.with_topic(&topic, workload.partitions, || {
                    let task = Task {
                        client: client.to_owned(),
                        workload: *workload,
                        bootstrap: stage.bootstrap(),
                        topic: topic.clone(),
                        records,
                        defaults: arguments.defaults,
                    };
                    report.add(client, task.run()?);
                    Ok(())
                })?;
            }
        }
        println!("\n{workload}; {records} records, {} rounds, {}", arguments.rounds, stage.describe());
        passed &= report.print(&arguments.limits, &mut io::stdout())?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn child(task: &Task) -> Result<ExitCode, Box<dyn Error>> {
    let measured = match task.client.as_str() {
        task::MILENA => milena::produce(task)?,
        task::LIBRDKAFKA => librdkafka::produce(task)?,
        other => return Err(format!("no client is called {other}").into()),
    };
    println!("{measured}");
    Ok(ExitCode::SUCCESS)
}
