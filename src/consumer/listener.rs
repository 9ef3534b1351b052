//! Who is told of partitions that come and go, and the task that tells.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::sync::mpsc;

use super::inner::ConsumerHandle;
use crate::{engine::consumer::types::Change, types::TopicPartition};

/// Is told of the partitions that a group gives to a consumer and takes from it.
///
/// The methods run one at a time, in a task of their own: heartbeats go on meanwhile, and the group waits for at most
/// [`max_poll_interval`](super::ConsumerBuilder::max_poll_interval). Each has a default that does nothing.
pub trait RebalanceListener: Send + Sync {
    /// These partitions have been assigned. Reading starts when this returns; to start elsewhere than where the group has
    /// committed, seek.
    fn assigned<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let _ = (consumer, partitions);
        Box::pin(std::future::ready(()))
    }

    /// These partitions are about to be given up. No record of theirs is handed out any more; what is done with can be
    /// committed. An automatic commit follows when this returns.
    fn revoking<'a>(
        &'a self,
        consumer: &'a ConsumerHandle,
        partitions: &'a [TopicPartition],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let _ = (consumer, partitions);
        Box::pin(std::future::ready(()))
    }

    /// These partitions are gone: others may read them already, and nothing can be committed for them.
    fn lost(&self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }
}

/// A change on its way to the listener.
pub(super) type Told = (u64, Change);

/// Tells the listener one change after the other, and reports each.
pub(super) async fn tell(
    listener: Arc<dyn RebalanceListener>,
    handle: ConsumerHandle,
    mut changes: mpsc::Receiver<Told>,
    done: mpsc::Sender<u64>,
) {
    while let Some((number, change)) = changes.recv().await {
        match change {
            Change::Assigned(partitions) => listener.assigned(&handle, &partitions).await,
            Change::Revoking(partitions) => listener.revoking(&handle, &partitions).await,
            Change::Lost(partitions) => listener.lost(&partitions),
        }
        if done.send(number).await.is_err() {
            break;
        }
    }
}
