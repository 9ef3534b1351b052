//! A service that emits an event for each record of a topic, under its key; some fail at first. Instances of it are killed
//! by `tests/service_kill.rs`.
//!
//! `service BOOTSTRAP GROUP`: the group is `auto` or `classic`, and says by which protocol; the topics are `GROUP.in` and
//! `GROUP.out`.

#![expect(clippy::print_stderr, reason = "a program speaks on its standard streams")]

use std::{env, process::ExitCode, time::Duration};

use milena::{Client, Config, GroupProtocol, Position};
use milena_service::{
    BoxError, Event, HandlerError, IntoRoute, Json, Key, Meta, Outgoing, Retry, Router, Service, State, Topic,
};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// As short as the brokers of the test let it be, so that one that was killed is missed soon.
const SESSION: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    // Every second try of some records is a warning.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> Result<(), BoxError> {
    let line = <[String; 3]>::try_from(env::args().collect::<Vec<_>>());
    let [_, bootstrap, group] = line.map_err(|_| "usage: service BOOTSTRAP auto|classic")?;
    let protocol = if group == "classic" { GroupProtocol::Classic } else { GroupProtocol::Auto };
    let client = Client::connect(Config::new(bootstrap.split(','))).await?;
    let patient = Retry::times(5).backoff(Duration::from_millis(20), 2, Duration::from_millis(200));
    let router = Router::new().topic(format!("{group}.in"), handle.retry(patient).dead_letter());
    let router = router.with_state(Topic::from(format!("{group}.out")));
    Service::new(&client, group)
        .router(router)
        .commit_interval(Duration::from_millis(500))
        .consumer(move |consumer| {
            let consumer = consumer.start_at(Position::Earliest).protocol(protocol);
            consumer.session_timeout(SESSION).heartbeat_interval(SESSION / 10)
        })
        .run()
        .await?;
    Ok(())
}

/// That a record was handled.
#[derive(Serialize, Deserialize, Event)]
#[event(type = "handled")]
struct Handled(u64);

/// Fails every seventh record twice.
async fn handle(
    State(to): State<Topic<Handled>>,
    Key(key): Key,
    Json(number): Json<u64>,
    at: Meta,
) -> Result<Outgoing, HandlerError> {
    if number % 7 == 3 && at.attempt < 3 {
        return Err(HandlerError::retry("not at once"));
    }
    Ok(to.outgoing(&Handled(number))?.key(key))
}
