//! Reads, processes and writes exactly once: every order becomes one invoice, though the first of two processors is
//! stopped in the midst of its work.
//!
//! ```text
//! cargo run --release --example exactly_once
//! ```
//!
//! Without `MILENA_BOOTSTRAP` (`host:port,host:port`) an embedded cluster of three brokers is started.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that reports to a person, in its own time"
)]

use std::{collections::BTreeMap, env, time::Duration};

use milena::{
    Client, Config, Message, NewTopic, Position, Processor, Record, TransactionHandle, testing::Cluster,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ORDERS: usize = 2_000;
/// After so many orders the first processor is stopped in the next transaction.
const BEFORE_THE_STOP: usize = 700;
const PARTITIONS: u32 = 4;
/// No invoice for this long means that some were lost.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = match env::var("MILENA_BOOTSTRAP") {
        Ok(_) => None,
        Err(_) => Some(Cluster::builder().nodes(3).start().await?),
    };
    let bootstrap = match &cluster {
        Some(cluster) => cluster.bootstrap(),
        None => env::var("MILENA_BOOTSTRAP")?.split(',').map(str::to_owned).collect(),
    };
    let client = Client::connect(Config::new(&bootstrap).client_id("exactly-once")).await?;
    // Of this run alone, on a cluster that others have used.
    let run = std::process::id();
    let (orders, invoices) = (format!("orders-{run}"), format!("invoices-{run}"));
    let topics = [&orders, &invoices].map(|topic| NewTopic::new(topic.as_str()).partitions(PARTITIONS));
    for created in client.admin().create_topics(topics).await?.into_values() {
        created?;
    }
    let producer = client.producer().build()?;
    for number in 0..ORDERS {
        let number = number.to_string();
        drop(producer.enqueue(Record::new(&orders, &number).key(&number)).await?);
    }
    producer.close().await?;

    // Half a transaction is open when it is stopped: nobody who reads what is committed sees any of it.
    let mut first = processor(&client, &orders, "billing-1").await?;
    let mut done = 0;
    while done < BEFORE_THE_STOP {
        done += first.step(|transaction, order| bill(transaction, order, &invoices)).await?.unwrap_or(0);
    }
    let stopped = first.step(async |transaction, order: Message| {
        let offset = order.offset().0;
        bill(transaction, order, &invoices).await?;
        if offset % 50 == 49 { Err(Failure::from("stopped")) } else { Ok(()) }
    });
    println!("{done} orders are billed, and then: {:?}", stopped.await.err().map(|error| error.to_string()));
    drop(first);

    let mut second = processor(&client, &orders, "billing-1").await?;
    while done < ORDERS {
        let step = second.step(|transaction, order| bill(transaction, order, &invoices));
        done += tokio::time::timeout(PATIENCE, step).await??.unwrap_or(0);
    }
    second.close().await?;

    let reader = client.reader().topics([&*invoices]).start_at(Position::Earliest).build()?;
    let mut seen = BTreeMap::<String, usize>::new();
    loop {
        // When all are there, one that is there twice would come at once.
        let patience = if seen.len() < ORDERS { PATIENCE } else { Duration::from_secs(1) };
        let Ok(next) = tokio::time::timeout(patience, reader.next()).await else { break };
        let Some(invoice) = next.transpose()? else { break };
        let invoice = String::from_utf8_lossy(invoice.value().unwrap_or_default()).into_owned();
        *seen.entry(invoice).or_default() += 1;
    }
    let twice = seen.values().filter(|times| **times > 1).count();
    println!("{} orders have an invoice, {twice} have more than one", seen.len());
    if seen.len() < ORDERS || twice > 0 {
        return Err(format!("{ORDERS} orders were to have one invoice each").into());
    }
    Ok(())
}

async fn processor(client: &Client, orders: &str, id: &str) -> milena::Result<Processor> {
    // Whoever starts under the same id takes the place of the one before, and aborts what that had begun.
    let producer = client.producer().transactional(id).await?;
    Ok(Processor::new(client.consumer("billing").topics([orders]), producer)?.max_records(100))
}

async fn bill(transaction: TransactionHandle, order: Message, invoices: &str) -> Result<(), Failure> {
    let order = order.value().unwrap_or_default();
    // What becomes of the record is what becomes of the transaction, so it need not be awaited.
    drop(transaction.enqueue(Record::new(invoices, order).key(order)).await?);
    Ok(())
}
