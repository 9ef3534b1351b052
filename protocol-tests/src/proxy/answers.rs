//! The way of the answers, from a broker to its client.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::{
    locked,
    pipe::{CHUNK, End, Gone, Sender},
    requests::copy,
};

/// What is to become of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Dropped,
    HalfThenReset,
    Reset,
    Corrupt,
}

/// Answers with which something is to happen, and what else the way back must know.
#[derive(Debug, Default)]
pub(super) struct Expected(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<(i32, Answer)>,
    new_limit: Option<u64>,
}

/// The most answers that are remembered; the oldest, which never came, are forgotten.
const REMEMBERED: usize = 1024;

impl Expected {
    pub(super) fn add(&self, correlation: i32, answer: Answer) {
        let mut state = locked(&self.0);
        if state.answers.len() == REMEMBERED {
            state.answers.pop_front();
        }
        state.answers.push_back((correlation, answer));
    }

    /// The way back has this bandwidth from now on.
    pub(super) fn limit(&self, bytes_per_second: u64) {
        locked(&self.0).new_limit = Some(bytes_per_second);
    }

    fn take(&self, correlation: i32) -> (Option<Answer>, Option<u64>) {
        let mut state = locked(&self.0);
        let found = state.answers.iter().position(|(expected, _)| *expected == correlation);
        let answer = found.and_then(|index| state.answers.remove(index)).map(|(_, answer)| answer);
        (answer, state.new_limit.take())
    }
}

/// Length and correlation id.
const HEAD: usize = 8;

/// Reads answers until the broker or a rule ends the connection, and passes on what is to be passed on.
pub(super) async fn read_from(broker: impl AsyncRead + Unpin, to_client: Sender, expected: &Expected) {
    let mut broker = BufReader::with_capacity(CHUNK, broker);
    while let Ok(true) = one(&mut broker, &to_client, expected).await {}
    let _ = to_client.end(End::Close).await;
}

/// One answer; whether there may be another.
async fn one(
    broker: &mut (impl AsyncRead + Unpin),
    to_client: &Sender,
    expected: &Expected,
) -> Result<bool, Gone> {
    let mut head = [0; HEAD];
    broker.read_exact(&mut head).await.map_err(|_| Gone)?;
    let [a, b, c, d, correlation @ ..] = head;
    let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).ok();
    let body = length.and_then(|length| (length + 4).checked_sub(HEAD)).ok_or(Gone)?;
    let (answer, limit) = expected.take(i32::from_be_bytes(correlation));
    if let Some(limit) = limit {
        to_client.bandwidth(limit).await?;
    }
    let (upto, end) = match answer {
        Some(Answer::Dropped) => return Ok(skip(broker, body).await),
        Some(Answer::Reset) => {
            to_client.end(End::Reset).await?;
            return Ok(false);
        }
        Some(Answer::HalfThenReset) => (body / 2, Some(End::Reset)),
        Some(Answer::Corrupt) | None => (body, None),
    };
    let corrupt = (answer == Some(Answer::Corrupt)).then_some(body / 2);
    to_client.bytes(Duration::ZERO, head.to_vec()).await?;
    copy(broker, to_client, upto, Duration::ZERO, corrupt).await?;
    if let Some(end) = end {
        to_client.end(end).await?;
    }
    Ok(end.is_none())
}

/// Reads `length` bytes for nothing; whether they were all there.
async fn skip(broker: &mut (impl AsyncRead + Unpin), length: usize) -> bool {
    let wanted = u64::try_from(length).unwrap_or(u64::MAX);
    let skipped = tokio::io::copy(&mut broker.take(wanted), &mut tokio::io::sink()).await;
    skipped.is_ok_and(|skipped| skipped == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_taken_once() {
        let expected = Expected::default();
        let newest = i32::try_from(REMEMBERED).unwrap_or_default();
        for correlation in 0..=newest {
            expected.add(correlation, Answer::Dropped);
        }
        assert_eq!(expected.take(0).0, None, "the oldest is forgotten");
        assert_eq!(expected.take(newest).0, Some(Answer::Dropped));
        assert_eq!(expected.take(newest).0, None);
    }
}
