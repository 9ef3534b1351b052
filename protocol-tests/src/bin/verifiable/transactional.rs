//! `producer --transactional-id`: the numbers in transactions, of which some are aborted at will.

use std::{sync::Arc, time::Instant};

use milena::{Delivery, Transaction, TransactionalProducer};
use serde_json::json;

use super::{
    Outcome,
    sending::{Run, unix_ms},
};

/// One transaction after the other, until all is sent or the program is to stop.
pub(super) async fn send_all(run: &Arc<Run>, mut producer: TransactionalProducer) -> Outcome {
    let started = (Instant::now(), unix_ms());
    let mut sent = 0;
    for txn in 0.. {
        if !run.options.has(sent) || run.stop.is_requested() {
            break;
        }
        let begun = tokio::select! {
            biased;
            () = run.stop.requested() => break,
            begun = producer.begin() => begun,
        };
        match begun {
            Ok(transaction) => transact(run, transaction, txn, &mut sent, started).await,
            Err(error) if error.is_fatal() => run.end(error.to_string()),
            // It is not over yet, or no broker answers: it is asked for again.
            Err(error) => tracing::warn!("begin: {error}"),
        }
    }
    if let Err(error) = producer.close().await {
        run.end(error.to_string());
    }
    run.conclude(sent, started.0.elapsed()).await
}

async fn transact(
    run: &Arc<Run>,
    transaction: Transaction<'_>,
    txn: u64,
    sent: &mut u64,
    (started, started_unix): (Instant, i64),
) {
    let Some(transactions) = &run.options.transactions else { return };
    let mut deliveries: Vec<(u64, Delivery)> = Vec::new();
    let last = *sent + transactions.size;
    while *sent < last && run.options.has(*sent) {
        tokio::select! {
            biased;
            () = run.stop.requested() => break,
            () = run.wait_for_turn(started, *sent) => {}
        }
        let number = *sent;
        *sent += 1;
        let text = run.text(number, started_unix);
        match transaction.enqueue(text.record(&run.options.topic)).await {
            Ok(delivery) => deliveries.push((number, delivery)),
            Err(error) => {
                run.report_error(number, &error, Some(txn)).await;
                if error.requires_abort() || error.is_fatal() {
                    break;
                }
            }
        }
    }
    let ended = if transactions.aborts(txn) {
        transaction.abort().await.map(|()| "aborted")
    } else {
        match transaction.commit().await {
            Err(error) if error.requires_abort() => Ok("aborted"),
            outcome => outcome.map(|()| "committed"),
        }
    };
    for (number, delivery) in deliveries {
        run.report(number, delivery.await, Some(txn)).await;
    }
    match ended {
        Ok(outcome) => {
            run.lines.print("transaction_end", &json!({ "txn": txn, "outcome": outcome })).await;
        }
        // What became of it is not known, so nothing is said.
        Err(error) if error.is_fatal() => run.end(error.to_string()),
        Err(error) => tracing::warn!("the end of transaction {txn}: {error}"),
    }
}
