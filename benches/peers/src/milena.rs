//! milena's side.

use std::collections::VecDeque;
use std::error::Error;

use milena::{Client, Compression, Config, Delivery, Isolation, Record};
use tokio::runtime::Builder;

use crate::measure::{Measured, Meter};
use crate::task::Task;
use crate::workload::Side;

/// How far the deliveries are awaited behind the records.
const BEHIND: usize = 65_536;

/// Sends the records one by one, and awaits the delivery of each.
pub(crate) fn produce(task: &Task) -> Result<Measured, Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(task))
}

/// Reads the records from the beginning.
pub(crate) fn consume(task: &Task) -> Result<Measured, Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(read(task))
}

async fn read(task: &Task) -> Result<Measured, Box<dyn Error>> {
    let client = Client::connect(Config::new([task.bootstrap.as_str()])).await?;
    let reader = client.reader().topics([task.topic.as_str()]).isolation(Isolation::ReadUncommitted);
    let meter = Meter::start()?;
    let reader = reader.build()?;
    let (mut count, mut bytes) = (0, 0);
    // One more was written, ahead of the others.
    while count < task.records + 1 {
        if task.workload.side == Side::Keep {
            let message = reader.next().await.ok_or("the reader has ended")??;
            bytes += message.value().map_or(0, <[u8]>::len);
            count += 1;
            continue;
        }
        let batch = reader.next_batch().await.ok_or("the reader has ended")??;
        for record in batch.records() {
            bytes += record?.value().map_or(0, <[u8]>::len);
            count += 1;
        }
    }
    let measured = meter.stop(count)?;
    if bytes != count * task.workload.bytes {
        return Err(format!("{count} records of {} B had {bytes} B", task.workload.bytes).into());
    }
    reader.close().await?;
    Ok(measured)
}

pub(crate) async fn send(task: &Task) -> Result<Measured, Box<dyn Error>> {
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
