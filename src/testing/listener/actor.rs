//! The task that owns the machine.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::connection::serve;
use super::handle::{Handle, Message, Output};
use crate::net::clock::Clock;
use crate::net::transport::Stream;
use crate::testing::broker::{Broker, ConnectionId, Reaction};
use crate::types::NodeId;

/// Outputs that wait for a connection. It reads a request only after the answer to the one before, so that one is due.
const OUTPUTS: usize = 2;

/// The machine's task; it ends, and with it all connections, when this is dropped.
#[derive(Debug)]
pub(in crate::testing) struct Actor {
    task: JoinHandle<()>,
    handle: Handle,
}

impl Actor {
    /// Starts the task on the current runtime.
    pub(in crate::testing) fn start(runtime: &tokio::runtime::Handle, broker: Broker) -> Self {
        let (handle, inbox) = Handle::new();
        let world = World {
            frame_bytes: broker.frame_bytes(),
            broker,
            inbox,
            handle: handle.clone(),
            clock: Clock::start(),
            outputs: BTreeMap::new(),
            connections: JoinSet::new(),
            opened: 0,
        };
        Self { task: runtime.spawn(world.run()), handle }
    }

    pub(in crate::testing) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the task and waits until it and all connections are gone.
    pub(in crate::testing) async fn stop(mut self) {
        self.task.abort();
        // It was cancelled, which is what is wanted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct World {
    broker: Broker,
    frame_bytes: usize,
    inbox: mpsc::Receiver<Message>,
    handle: Handle,
    clock: Clock,
    outputs: BTreeMap<ConnectionId, mpsc::Sender<Output>>,
    connections: JoinSet<()>,
    opened: u64,
}

impl World {
    async fn run(mut self) {
        loop {
            let deadline = self.broker.deadline();
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = sleep_until(deadline) => self.broker.tick(self.clock.now()),
                Some(_) = self.connections.join_next() => {}
            }
            self.react();
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Accepted { node, stream } => self.open(node, stream),
            Message::Frame { connection, frame } => {
                self.broker.request(now, connection, frame);
            }
            Message::Closed { connection } => {
                self.outputs.remove(&connection);
                self.broker.connection_closed(now, connection);
            }
            Message::Job(job) => job(&mut self.broker, now),
        }
    }

    fn open(&mut self, node: NodeId, stream: Box<dyn Stream>) {
        self.opened += 1;
        let connection = ConnectionId(self.opened);
        if !self.broker.connection_opened(node, connection) {
            return;
        }
        let (output, outputs) = mpsc::channel(OUTPUTS);
        self.outputs.insert(connection, output);
        self.connections.spawn(serve(connection, stream, self.frame_bytes, self.handle.clone(), outputs));
    }

    /// Does what the machine wants done.
    fn react(&mut self) {
        while let Some(reaction) = self.broker.reaction() {
            match reaction {
                Reaction::Reply { connection, frame } => self.put(connection, Output::Reply(frame)),
                Reaction::Silent { connection } => self.put(connection, Output::Nothing),
                Reaction::Close { connection } => {
                    // The connection's task sees the channel's end, after what is still in it.
                    self.outputs.remove(&connection);
                }
            }
        }
    }

    fn put(&mut self, connection: ConnectionId, output: Output) {
        let Some(sender) = self.outputs.get(&connection) else { return };
        if sender.try_send(output).is_err() {
            // Its task has ended: it will say so itself.
            self.outputs.remove(&connection);
        }
    }
}

/// Waits until the deadline, for ever if there is none.
#[expect(clippy::disallowed_methods, reason = "the driver that waits for the machine's deadline")]
async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
