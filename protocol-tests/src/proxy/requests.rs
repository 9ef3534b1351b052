//! The way of the requests, from a client to its broker.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::{
    Shared,
    answers::{Answer, Expected},
    pipe::{CHUNK, End, Gone, Sender},
    rule::{Reaction, Request},
};

/// Length, API key, version and correlation id.
const HEAD: usize = 12;

/// Reads requests, has the rules look at each, and passes on what is to be passed on.
pub(super) struct Requests<'a> {
    pub(super) shared: &'a Shared,
    pub(super) node: i32,
    pub(super) connection: u64,
    pub(super) to_broker: Sender,
    /// The other direction, which a bandwidth holds for too.
    pub(super) expected: &'a Expected,
}

/// What becomes of one request.
#[derive(Debug, Default)]
struct Plan {
    delay: Duration,
    bandwidth: Option<u64>,
    /// The first reaction that is more than slowness.
    fate: Option<Reaction>,
}

impl Plan {
    fn of(reactions: Vec<Reaction>) -> Self {
        let mut plan = Self::default();
        for reaction in reactions {
            match reaction {
                Reaction::Delay(delay) => plan.delay += delay,
                Reaction::Bandwidth(rate) => plan.bandwidth = Some(rate),
                fate => plan.fate = plan.fate.or(Some(fate)),
            }
        }
        plan
    }

    /// What is to become of the answer.
    fn answer(&self) -> Option<Answer> {
        match self.fate? {
            Reaction::DropAnswer => Some(Answer::Dropped),
            Reaction::ResetInAnswer => Some(Answer::HalfThenReset),
            Reaction::ResetInsteadOfAnswer => Some(Answer::Reset),
            Reaction::CorruptAnswer => Some(Answer::Corrupt),
            _ => None,
        }
    }
}

impl Requests<'_> {
    /// Until the client or a rule ends the connection. What a client has sent of the body of its last request is passed
    /// on, also where it does not finish it.
    pub(super) async fn read_from(self, client: impl AsyncRead + Unpin) {
        let mut client = BufReader::with_capacity(CHUNK, client);
        let mut number = 0;
        while let Ok(true) = self.one(&mut client, &mut number).await {}
        let _ = self.to_broker.end(End::Close).await;
    }

    /// One request; whether there may be another.
    async fn one(&self, client: &mut (impl AsyncRead + Unpin), number: &mut u64) -> Result<bool, Gone> {
        let mut head = [0; HEAD];
        client.read_exact(&mut head).await.map_err(|_| Gone)?;
        let body = body_length(head).ok_or(Gone)?;
        *number += 1;
        let request = self.request(head, *number);
        let plan = Plan::of(self.shared.react(&request));
        if let Some(answer) = plan.answer() {
            self.expected.add(request.correlation, answer);
        }
        if let Some(rate) = plan.bandwidth {
            self.to_broker.bandwidth(rate).await?;
            self.expected.limit(rate);
        }
        let passed = match plan.fate {
            Some(Reaction::Cut) => return self.finish(End::Close).await,
            Some(Reaction::Stall) => return self.finish(End::Stall).await,
            Some(Reaction::ResetInRequest) => body / 2,
            _ => body,
        };
        let corrupt = (plan.fate == Some(Reaction::CorruptRequest)).then_some(body / 2);
        self.to_broker.bytes(plan.delay, head.to_vec()).await?;
        copy(client, &self.to_broker, passed, plan.delay, corrupt).await?;
        match plan.fate {
            Some(Reaction::ResetInRequest | Reaction::ResetAfterRequest) => self.finish(End::Reset).await,
            _ => Ok(true),
        }
    }

    async fn finish(&self, end: End) -> Result<bool, Gone> {
        self.to_broker.end(end).await?;
        Ok(false)
    }

    fn request(&self, head: [u8; HEAD], number: u64) -> Request {
        let [_, _, _, _, a, b, c, d, correlation @ ..] = head;
        Request {
            node: self.node,
            api: i16::from_be_bytes([a, b]),
            version: i16::from_be_bytes([c, d]),
            correlation: i32::from_be_bytes(correlation),
            connection: self.connection,
            number,
        }
    }
}

/// The bytes behind the head; `None` where there is no whole head in the frame, which no client of Kafka's sends.
fn body_length(head: [u8; HEAD]) -> Option<usize> {
    let [a, b, c, d, ..] = head;
    let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).ok()?;
    (length + 4).checked_sub(HEAD)
}

/// Passes `length` bytes on in pieces, the one at `corrupt` changed.
pub(super) async fn copy(
    input: &mut (impl AsyncRead + Unpin),
    output: &Sender,
    length: usize,
    delay: Duration,
    corrupt: Option<usize>,
) -> Result<(), Gone> {
    let mut done = 0;
    while done < length {
        let mut piece = vec![0; CHUNK.min(length - done)];
        let read = input.read(&mut piece).await.ok().filter(|&read| read > 0).ok_or(Gone)?;
        piece.truncate(read);
        let hit = corrupt.and_then(|at| at.checked_sub(done)).and_then(|at| piece.get_mut(at));
        if let Some(byte) = hit {
            *byte ^= 0x55;
        }
        done += read;
        output.bytes(delay, piece).await?;
    }
    Ok(())
}
