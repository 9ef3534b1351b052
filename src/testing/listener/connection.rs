//! One connection: requests go to the machine one at a time, as a Kafka broker takes them, and answers come back.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::handle::{Handle, Message, Output};
use crate::net::transport::Stream;
use crate::testing::broker::ConnectionId;
use crate::wire::frame::FrameDecoder;

/// How much is read ahead while a request is being answered: only to see that the client is still there.
const READ_AHEAD: usize = 64 * 1024;

/// Serves until either side closes the connection.
pub(super) async fn serve(
    connection: ConnectionId,
    stream: Box<dyn Stream>,
    frame_bytes: usize,
    machine: Handle,
    outputs: mpsc::Receiver<Output>,
) {
    let mut served = Connection {
        connection,
        stream,
        frames: FrameDecoder::new(frame_bytes),
        read: BytesMut::new(),
        outputs,
    };
    // A connection that has failed and one that was closed end in the same way.
    let _ = served.run(&machine).await;
    let _ = machine.tell(Message::Closed { connection }).await;
}

struct Connection {
    connection: ConnectionId,
    stream: Box<dyn Stream>,
    frames: FrameDecoder,
    read: BytesMut,
    outputs: mpsc::Receiver<Output>,
}

impl Connection {
    /// Returns when the connection is over, for whatever reason.
    async fn run(&mut self, machine: &Handle) -> Option<()> {
        loop {
            while let Some(frame) = self.frames.next(&mut self.read).ok()? {
                machine.tell(Message::Frame { connection: self.connection, frame }).await.ok()?;
                self.answer().await?;
            }
            tokio::select! {
                // The machine may close the connection at any time, as when its node stops.
                output = self.outputs.recv() => self.put(output?).await?,
                done = read(&mut self.stream, &self.frames, &mut self.read) => done?,
            }
        }
    }

    /// Waits for what the machine says to the request, and does it. A client that goes meanwhile ends the wait.
    async fn answer(&mut self) -> Option<()> {
        loop {
            let may_read = self.read.len() < READ_AHEAD;
            tokio::select! {
                biased;
                output = self.outputs.recv() => return self.put(output?).await,
                done = read(&mut self.stream, &self.frames, &mut self.read), if may_read => done?,
            }
        }
    }

    async fn put(&mut self, output: Output) -> Option<()> {
        match output {
            Output::Nothing => Some(()),
            Output::Reply(mut frame) => {
                self.stream.write_all_buf(&mut frame).await.ok()?;
                self.stream.flush().await.ok()
            }
        }
    }
}

/// Reads some bytes; nothing at the end of the stream.
async fn read(stream: &mut Box<dyn Stream>, frames: &FrameDecoder, buffer: &mut BytesMut) -> Option<()> {
    buffer.reserve(frames.want(buffer));
    let count = stream.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}
