//! The user of a consumer: takes records, works on them, tarries, and gives up waiting.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use crate::{
    engine::{backoff::Random, hand::Hand, machine::Now},
    error::{Error, Result},
    message::{Batch, Message},
    types::TopicPartition,
};

/// What a call for records has brought.
#[derive(Debug)]
pub(super) enum Taken {
    Records(TopicPartition, Vec<Message>),
    Error(Error),
    End,
}

type Pulling = Pin<Box<dyn Future<Output = Taken>>>;

pub(super) struct User {
    hand: Arc<Hand>,
    random: Random,
    /// Whether it takes batches.
    by_batch: bool,
    /// What it has not acknowledged, if it does acknowledge.
    held: Option<Vec<Message>>,
    pulling: Option<Pulling>,
    woken: Arc<Flag>,
    /// When it asks, or stops waiting.
    at: Instant,
    is_calm: bool,
    has_ended: bool,
}

/// Whether somebody was woken.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl User {
    pub(super) fn new(now: Now, hand: Arc<Hand>, acknowledges: bool, mut random: Random) -> Self {
        let by_batch = random.below(2) == 0;
        let (woken, at) = (Arc::default(), now.instant);
        let held = acknowledges.then(Vec::new);
        Self { hand, random, by_batch, held, pulling: None, woken, at, is_calm: false, has_ended: false }
    }

    /// Does what is due; what came of it.
    pub(super) fn act(&mut self, now: Now) -> Option<Taken> {
        if self.has_ended {
            return None;
        }
        let is_due = self.at <= now.instant;
        if self.pulling.is_some() && !self.woken.0.swap(false, Ordering::SeqCst) {
            if !is_due {
                return None;
            }
            // It has waited long enough: the call is dropped, and another is made.
            self.pulling = None;
        }
        let pulling = match &mut self.pulling {
            Some(pulling) => pulling,
            None if !is_due => return None,
            None => {
                let pulling = pull(Arc::clone(&self.hand), self.by_batch);
                self.pulling.insert(pulling)
            }
        };
        let waker = Waker::from(Arc::clone(&self.woken));
        let Poll::Ready(taken) = pulling.as_mut().poll(&mut Context::from_waker(&waker)) else {
            self.at = now.instant + Duration::from_millis(500 + self.random.below(5_000));
            return None;
        };
        self.pulling = None;
        self.has_ended = matches!(taken, Taken::End);
        self.at = now.instant + self.work(&taken);
        Some(taken)
    }

    /// It works on these, beside others, until it [acknowledges](Self::acknowledge) them.
    pub(super) fn keep(&mut self, messages: Vec<Message>) {
        if let Some(held) = &mut self.held {
            held.extend(messages);
        }
    }

    /// Acknowledges some of what it has, if it is time, and returns them. In no order.
    pub(super) fn acknowledge(&mut self, now: Now) -> Vec<Message> {
        let Some(held) = self.held.as_mut().filter(|held| !held.is_empty()) else { return Vec::new() };
        let count = match self.random.below(4) {
            _ if self.is_calm => held.len() as u64,
            // At its end it may have no time for the rest.
            0 if self.has_ended => {
                held.clear();
                0
            }
            0 => 0,
            _ => 1 + self.random.below(held.len() as u64),
        };
        if self.has_ended {
            self.at = now.instant + Duration::from_millis(1 + self.random.below(2_000));
        }
        let mut done = Vec::new();
        for _ in 0..count {
            let place = self.random.below(held.len() as u64) as usize;
            done.push(held.swap_remove(place));
        }
        done.iter().for_each(Message::ack);
        done
    }

    /// How long it works on what it was given.
    fn work(&mut self, taken: &Taken) -> Duration {
        let millis = match (taken, self.is_calm) {
            (Taken::Error(_), _) => 100,
            (_, true) => self.random.below(10),
            (_, false) => match self.random.below(200) {
                // Sometimes for so long that the group takes it for gone.
                0 => self.random.below(30_000),
                1..=20 => self.random.below(1_000),
                21..=120 => self.random.below(20),
                _ => 0,
            },
        };
        // Never nothing, so that others get their turn.
        Duration::from_micros(1) + Duration::from_millis(millis)
    }

    pub(super) fn calm_down(&mut self) {
        self.is_calm = true;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let holds = self.held.as_ref().is_some_and(|held| !held.is_empty());
        (!self.has_ended || holds).then_some(self.at)
    }
}

fn pull(hand: Arc<Hand>, by_batch: bool) -> Pulling {
    Box::pin(async move {
        if by_batch {
            match hand.next_batch().await {
                Some(batch) => batch.and_then(|batch| of_batch(&batch)).unwrap_or_else(Taken::Error),
                None => Taken::End,
            }
        } else {
            match hand.next().await {
                Some(message) => message.map_or_else(Taken::Error, of_message),
                None => Taken::End,
            }
        }
    })
}

fn of_batch(batch: &Batch) -> Result<Taken> {
    let mut records = Vec::new();
    for message in batch.messages() {
        records.push(message?);
    }
    assert_eq!(records.first().map(|message| message.offset()), Some(batch.first_offset()));
    assert_eq!(records.last().map(|message| message.offset().0 + 1), Some(batch.next_offset().0));
    Ok(Taken::Records(batch.topic_partition().clone(), records))
}

fn of_message(message: Message) -> Taken {
    Taken::Records(message.topic_partition().clone(), vec![message])
}

pub(super) fn record(message: &Message) -> (i64, String) {
    let value = message.value().expect("a value");
    (message.offset().0, String::from_utf8(value.to_vec()).expect("text"))
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("at", &self.at).finish_non_exhaustive()
    }
}
