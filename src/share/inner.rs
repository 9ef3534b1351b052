//! What the two sides of a share consumer say to each other.

use tokio::sync::oneshot;

use crate::{
    error::{Error, ErrorKind, Result},
    types::TopicPartition,
};

/// What users ask of the consumer's task.
#[derive(Debug)]
pub(super) enum Command {
    Commit { reply: oneshot::Sender<Result<()>> },
    Assignment { reply: oneshot::Sender<Vec<TopicPartition>> },
    Close { reply: oneshot::Sender<Result<()>> },
}

pub(super) fn closed() -> Error {
    ErrorKind::Closed { what: "share consumer" }.into()
}
