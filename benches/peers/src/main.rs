//! milena's producer and consumer and librdkafka's, side by side: the processor time, rate and memory that the same records cost, on
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
use workload::Side;

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
        let task = |client: &str, topic: &str| Task {
            client: client.to_owned(),
            workload: *workload,
            bootstrap: stage.bootstrap(),
            topic: topic.to_owned(),
            records,
            defaults: arguments.defaults,
        };
        let turns = (0..arguments.rounds).flat_map(|round| CLIENTS.map(|client| (client, round)));
        if workload.side == Side::Send {
            for (client, round) in turns {
                let topic = format!("peers-{}-{client}-{round}", workload.name);
                stage.with_topic(&topic, workload.partitions, || {
                    report.add(client, task(client, &topic).run()?);
                    Ok(())
                })?;
            }
        } else {
            // All read the same.
            let topic = format!("peers-{}", workload.name);
            stage.with_topic(&topic, workload.partitions, || {
                stage.fill(&task(task::MILENA, &topic))?;
                for (client, _) in turns {
                    report.add(client, task(client, &topic).run()?);
                }
                Ok(())
            })?;
        }
        println!("\n{workload}; {records} records, {} rounds, {}", arguments.rounds, stage.describe());
        passed &= report.print(&arguments.limits, &mut io::stdout())?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn child(task: &Task) -> Result<ExitCode, Box<dyn Error>> {
    let is_sent = task.workload.side == Side::Send;
    let measured = match task.client.as_str() {
        task::MILENA if is_sent => milena::produce(task)?,
        task::MILENA => milena::consume(task)?,
        task::LIBRDKAFKA if is_sent => librdkafka::produce(task)?,
        task::LIBRDKAFKA => librdkafka::consume(task)?,
        other => return Err(format!("no client is called {other}").into()),
    };
    println!("{measured}");
    Ok(ExitCode::SUCCESS)
}
