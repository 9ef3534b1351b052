//! milena's side.

use std::collections::VecDeque;
use std::error::Error;

use milena::{Client, Compression, Config, Delivery, Record};
use tokio::runtime::Builder;

use crate::measure::{Measured, Meter};
use crate::task::Task;

/// How far the deliveries are awaited behind the records.
const BEHIND: usize = 65_536;

/// Sends the records one by one, and awaits the delivery of each.
pub(crate) fn produce(task: &Task) -> Result<Measured, Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(task))
}

async fn send(task: &Task) -> Result<Measured, Box<dyn Error>> {
    let client = Client::connect(Config::new([task.bootstrap.as_str()])).await?;
    let codec = if task.workload.lz4 { Compression::Lz4 } else { Compression::None };
    let producer = client.producer().compression(codec).build()?;
    let values = task.values();
    // So that the connection, the topic and the producer's id are there.
    producer.send(Record::new(&task.topic, values.get(0))).await?;

    let meter = Meter::start()?;
    let mut deliveries: VecDeque<Delivery> = VecDeque::with_capacity(BEHIND);
    let mut acknowledged = 0;
    for index in 0..task.records {
        if deliveries.len() == BEHIND
            && let Some(oldest) = deliveries.pop_front()
        {
            oldest.await?;
            acknowledged += 1;
        }
        deliveries.push_back(producer.enqueue(Record::new(&task.topic, values.get(index))).await?);
    }
    for delivery in deliveries {
        delivery.await?;
        acknowledged += 1;
    }
    let measured = meter.stop(acknowledged)?;
    producer.close().await?;
    Ok(measured)
}
