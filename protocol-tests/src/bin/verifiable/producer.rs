//! `producer`: sends increasing numbers, and tells what became of each.

use std::{sync::Arc, time::Instant};

use milena::{Config, Producer, ProducerBuilder};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    Outcome, connect,
    lines::Lines,
    sending::{Options, Run, unix_ms},
    stop::Stop,
    transactional,
};

/// The most records that are on their way at once.
const IN_FLIGHT: u32 = 1 << 14;

pub(crate) async fn run(mut options: Options, lines: Lines, stop: Stop) -> Outcome {
    let config = std::mem::take(&mut options.client).apply(Config::new(options.bootstrap.clone()));
    let Some(connected) = connect(config, &stop).await else { return Outcome::Stopped };
    let built = connected.map(|client| {
        let mut builder = std::mem::take(&mut options.producer).apply(client.producer());
        builder = options.acks.into_iter().fold(builder, ProducerBuilder::acks);
        if options.idempotent {
            builder = builder.idempotence(true);
        }
        (builder, client)
    });
    let outcome = match built {
        Ok((builder, client)) => {
            let outcome = start(builder, options, &lines, stop).await;
            client.close();
            outcome
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            lines.print("fatal", &json!({ "message": error.to_string() })).await;
            Outcome::Fatal
        }
    }
}

async fn start(
    mut builder: ProducerBuilder,
    options: Options,
    lines: &Lines,
    stop: Stop,
) -> milena::Result<Outcome> {
    let Some(transactions) = &options.transactions else {
        let producer = builder.build()?;
        lines.print("startup_complete", &json!({})).await;
        return Ok(send_all(Run::new(options, lines.clone(), stop), producer).await);
    };
    builder = builder.transaction_timeout(transactions.timeout);
    let producer = tokio::select! {
        producer = builder.transactional(transactions.id.as_str()) => producer?,
        () = stop.requested() => return Ok(Outcome::Stopped),
    };
    lines.print("startup_complete", &json!({})).await;
    Ok(transactional::send_all(&Run::new(options, lines.clone(), stop), producer).await)
}

async fn send_all(run: Arc<Run>, producer: Producer) -> Outcome {
    let (started, started_unix) = (Instant::now(), unix_ms());
    let permits = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let mut sent = 0;
    while run.options.has(sent) {
        let turn = async {
            run.wait_for_turn(started, sent).await;
            Arc::clone(&permits).acquire_owned().await
        };
        let permit = tokio::select! {
            biased;
            () = run.stop.requested() => break,
            permit = turn => permit,
        };
        let text = run.text(sent, started_unix);
        let enqueued = tokio::select! {
            biased;
            enqueued = producer.enqueue(text.record(&run.options.topic)) => Some(enqueued),
            // The record is not sent: it still waited for room, or for the topic to be known.
            () = run.stop.requested() => None,
        };
        match enqueued {
            Some(Ok(delivery)) => {
                let (run, number) = (Arc::clone(&run), sent);
                tokio::spawn(async move {
                    run.report(number, delivery.await, None).await;
                    drop(permit);
                });
            }
            Some(Err(error)) => run.report_error(sent, &error, None).await,
            None => {
                let message = "the program was stopped before it was sent";
                run.report_failed(sent, "Stopped", message, None).await;
            }
        }
        sent += 1;
    }
    // Every delivery is settled when it returns, and every task has reported when all permits are back.
    let closed = producer.close().await;
    let _all = permits.acquire_many(IN_FLIGHT).await;
    if let Err(error) = closed {
        run.end(error.to_string());
    }
    run.conclude(sent, started.elapsed()).await
}
