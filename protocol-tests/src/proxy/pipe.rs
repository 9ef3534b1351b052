//! What is on its way in one direction of a connection: bytes in order, each with the time before which it stays.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// The most bytes in transit in one direction of a connection; then the proxy reads no more.
pub const IN_TRANSIT: usize = CHUNKS * CHUNK;
const CHUNKS: usize = 64;
/// The most bytes that travel as one.
pub(super) const CHUNK: usize = 16 << 10;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    /// The client sees a reset.
    Reset,
    /// It does not end, and nothing passes any more.
    Stall,
}

#[derive(Debug)]
enum Item {
    Bytes { due: Instant, bytes: Vec<u8> },
    Bandwidth(u64),
    End(End),
}

/// The side that puts in.
#[derive(Debug)]
pub(super) struct Sender(mpsc::Sender<Item>);

/// The side that takes out.
#[derive(Debug)]
pub(super) struct Receiver(mpsc::Receiver<Item>);

pub(super) fn pipe() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    (Sender(sender), Receiver(receiver))
}

/// One side is gone, so there is nothing left to do.
#[derive(Debug)]
pub(super) struct Gone;

impl Sender {
    /// Puts in bytes that must not come out for this long.
    pub(super) async fn bytes(&self, delay: Duration, bytes: Vec<u8>) -> Result<(), Gone> {
        self.put(Item::Bytes { due: Instant::now() + delay, bytes }).await
    }

    /// What comes after this comes out at so many bytes per second.
    pub(super) async fn bandwidth(&self, bytes_per_second: u64) -> Result<(), Gone> {
        self.put(Item::Bandwidth(bytes_per_second)).await
    }

    /// Ends the connection when everything before is out.
    pub(super) async fn end(&self, end: End) -> Result<(), Gone> {
        self.put(Item::End(end)).await
    }

    async fn put(&self, item: Item) -> Result<(), Gone> {
        self.0.send(item).await.map_err(|_| Gone)
    }
}

impl Receiver {
    /// Writes everything that comes, until the end.
    pub(super) async fn write_to(mut self, mut output: impl AsyncWrite + Unpin) -> End {
        let mut pace = None;
        while let Some(item) = self.0.recv().await {
            match item {
                Item::Bytes { due, bytes } => {
                    sleep_until(due).await;
                    if write(&mut output, &bytes, pace).await.is_err() {
                        return End::Close;
                    }
                }
                Item::Bandwidth(bytes_per_second) => pace = Some(bytes_per_second.max(1)),
                Item::End(end) => return end,
            }
        }
        End::Close
    }
}

/// Writes in slices of a tenth of a second, if there is a pace.
async fn write(output: &mut (impl AsyncWrite + Unpin), bytes: &[u8], pace: Option<u64>) -> io::Result<()> {
    let Some(pace) = pace else { return output.write_all(bytes).await };
    let slice = usize::try_from(pace / 10).unwrap_or(usize::MAX).max(1);
    for part in bytes.chunks(slice) {
        output.write_all(part).await?;
        let takes = Duration::from_secs_f64(part.len() as f64 / pace as f64);
        sleep_until(Instant::now() + takes).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_side_by_side_and_keep_their_order() {
        let (sender, receiver) = pipe();
        let started = Instant::now();
        for (delay, bytes) in [(20, "a"), (20, "b"), (0, "c")] {
            sender.bytes(Duration::from_millis(delay), bytes.into()).await.unwrap();
        }
        sender.end(End::Reset).await.unwrap();
        let mut output = Vec::new();
        assert_eq!(receiver.write_to(&mut output).await, End::Reset);
        assert_eq!(output, b"abc");
        assert_eq!(started.elapsed().as_millis(), 20, "delays do not add up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bandwidth_holds_for_what_comes_after_it() {
        let (sender, receiver) = pipe();
        sender.bytes(Duration::ZERO, vec![0; 1_000]).await.unwrap();
        sender.bandwidth(1_000).await.unwrap();
        sender.bytes(Duration::ZERO, vec![1; 2_000]).await.unwrap();
        drop(sender);
        let started = Instant::now();
        let mut output = Vec::new();
        assert_eq!(receiver.write_to(&mut output).await, End::Close);
        assert_eq!(output.len(), 3_000);
        assert_eq!(started.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn a_full_pipe_takes_no_more() {
        let (sender, receiver) = pipe();
        for _ in 0..CHUNKS {
            sender.bytes(Duration::ZERO, vec![0; CHUNK]).await.unwrap();
        }
        tokio::select! {
            biased;
            _ = sender.bytes(Duration::ZERO, vec![0]) => panic!("it took more than its bound"),
            () = tokio::task::yield_now() => {}
        }
        drop(receiver);
        assert!(sender.bytes(Duration::ZERO, vec![0]).await.is_err());
    }
}
