//! The ways between the machine's task and those who talk to it.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::engine::machine::Now;
use crate::error::{Error, ErrorKind, Result};
use crate::net::transport::Stream;
use crate::testing::broker::{Broker, ConnectionId};
use crate::types::NodeId;
use crate::wire::codec::Segments;

/// Messages that wait for the machine; who has more waits for room.
const INBOX: usize = 256;

/// What the machine's task is told.
pub(super) enum Message {
    Accepted { node: NodeId, stream: Box<dyn Stream> },
    Frame { connection: ConnectionId, frame: Bytes },
    Closed { connection: ConnectionId },
    Job(Job),
}

/// Something to do with the machine between two requests.
type Job = Box<dyn FnOnce(&mut Broker, Now) + Send>;

/// A way to the machine's task. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::testing) struct Handle {
    inbox: mpsc::Sender<Message>,
}

/// What a connection is told.
#[derive(Debug)]
pub(super) enum Output {
    Reply(Segments),
    /// The request has no answer.
    Nothing,
}

impl Handle {
    /// A way, and its end.
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(INBOX);
        (Self { inbox: sender }, receiver)
    }

    /// Runs `job` on the machine and returns what it returns.
    pub(in crate::testing) async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Broker, Now) -> R + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |broker: &mut Broker, now: Now| {
            // Nobody waits any more for the result of a call that was dropped; the job is done all the same.
            let _ = sender.send(job(broker, now));
        });
        let closed = || Error::from(ErrorKind::Closed { what: "embedded cluster" });
        self.inbox.send(Message::Job(job)).await.map_err(|_| closed())?;
        receiver.await.map_err(|_| closed())
    }

    /// Serves a connection to a node.
    pub(super) async fn accept(&self, node: NodeId, stream: Box<dyn Stream>) -> Result<(), Gone> {
        self.tell(Message::Accepted { node, stream }).await
    }

    pub(super) async fn tell(&self, message: Message) -> Result<(), Gone> {
        self.inbox.send(message).await.map_err(|_| Gone)
    }
}

/// The machine's task has ended.
#[derive(Debug)]
pub(super) struct Gone;
