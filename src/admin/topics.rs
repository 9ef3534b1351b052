//! Creating and deleting topics.

use std::{collections::BTreeMap, time::Duration};

use super::{
    fates::{Fates, Word},
    handle::Admin,
    new_topic::NewTopic,
};
use crate::{
    client::retry::{Ask, Verdict, response},
    engine::machine::{Outcome, Target},
    error::{Code, Error, ErrorKind, Result},
    types::TopicName,
    wire::{
        calls::Request,
        messages::{CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse},
    },
};

/// What became of each topic.
type Outcomes = BTreeMap<TopicName, Result<()>>;

impl Admin {
    /// Creates topics. Each is created or not on its own.
    ///
    /// It returns when the controller has created them. Brokers learn of it one after the other, mostly within
    /// milliseconds: until then one that is asked says that the topic is unknown, and a producer or consumer waits.
    ///
    /// If the answer to an attempt was lost, the topic may exist when the next one is made. `TOPIC_ALREADY_EXISTS` is
    /// then taken for success, though the topic may have existed before, with other settings.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// use milena::{Code, NewTopic};
    ///
    /// let topics = [NewTopic::new("orders").partitions(12).replication(3), NewTopic::new("audit")];
    /// for (topic, result) in client.admin().create_topics(topics).await? {
    ///     match result {
    ///         Err(error) if error.code() == Some(Code::TOPIC_ALREADY_EXISTS) => println!("{topic} is there"),
    ///         other => other?,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the call failed: whatever kept the last attempt from being answered, with [`ErrorKind::Timeout`] after
    /// [`Admin::timeout`]. Some topics may exist then.
    ///
    /// For a topic: [`ErrorKind::InvalidTopic`] for a name that Kafka does not take, one that collides with another
    /// topic's (`a.b` and `a_b`), or one that is given twice; [`ErrorKind::NotAuthorized`]; otherwise
    /// [`ErrorKind::Broker`] with its code and words, such as `TOPIC_ALREADY_EXISTS`, `INVALID_PARTITIONS`,
    /// `INVALID_REPLICATION_FACTOR`, `INVALID_CONFIG` or `POLICY_VIOLATION`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempts. What was sent may be carried out.
    pub async fn create_topics(&self, topics: impl IntoIterator<Item = NewTopic>) -> Result<Outcomes> {
        self.create(CreateTopics::new(topics, false)).await
    }

    /// Tells whether [`create_topics`](Self::create_topics) would create these topics, and creates none.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// use milena::NewTopic;
    ///
    /// let topic = NewTopic::new("orders").config("retention.ms", "soon");
    /// for (topic, result) in client.admin().validate_topics([topic]).await? {
    ///     if let Err(error) = result {
    ///         println!("{topic} would not be created: {error}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`create_topics`](Self::create_topics).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn validate_topics(&self, topics: impl IntoIterator<Item = NewTopic>) -> Result<Outcomes> {
        self.create(CreateTopics::new(topics, true)).await
    }

    /// Deletes topics with all their records, for good. Each is deleted or not on its own.
    ///
    /// It returns when the controller has deleted them. Brokers learn of it one after the other, and remove the files
    /// later (`file.delete.delay.ms`).
    ///
    /// If the answer to an attempt was lost, the topic may be gone when the next one is made.
    /// `UNKNOWN_TOPIC_OR_PARTITION` is then taken for success.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// for (topic, result) in client.admin().delete_topics(["orders", "audit"]).await? {
    ///     if let Err(error) = result {
    ///         println!("{topic} was not deleted: {error}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the call failed: whatever kept the last attempt from being answered, with [`ErrorKind::Timeout`] after
    /// [`Admin::timeout`]. Some topics may be deleted then.
    ///
    /// For a topic: [`ErrorKind::InvalidTopic`] for a name that Kafka does not take; [`ErrorKind::NotAuthorized`];
    /// otherwise [`ErrorKind::Broker`] with its code and words, such as `UNKNOWN_TOPIC_OR_PARTITION` or
    /// `TOPIC_DELETION_DISABLED`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempts. What was sent may be carried out.
    pub async fn delete_topics(
        &self,
        topics: impl IntoIterator<Item = impl Into<TopicName>>,
    ) -> Result<Outcomes> {
        let mut ask = DeleteTopics::new(topics.into_iter().map(Into::into));
        match ask.fates.all_settled() {
            Some(settled) => Ok(settled),
            None => self.ask(ask).await,
        }
    }

    async fn create(&self, mut ask: CreateTopics) -> Result<Outcomes> {
        match ask.fates.all_settled() {
            Some(settled) => Ok(settled),
            None => self.ask(ask).await,
        }
    }
}

/// How long a broker may take, so that its own word comes before it is no longer waited for.
fn broker_timeout_ms(patience: Duration) -> i32 {
    let most = patience.saturating_sub(patience / 8);
    i32::try_from(most.as_millis()).unwrap_or(i32::MAX).max(1)
}

struct CreateTopics {
    topics: BTreeMap<TopicName, NewTopic>,
    validate_only: bool,
    fates: Fates<()>,
}

impl CreateTopics {
    fn new(topics: impl IntoIterator<Item = NewTopic>, validate_only: bool) -> Self {
        let mut once = BTreeMap::new();
        let mut twice = Vec::new();
        for topic in topics {
            if let Some(before) = once.insert(topic.name.clone(), topic) {
                twice.push(before.name);
            }
        }
        let mut fates = Fates::new("CreateTopics", once.keys().cloned());
        if !validate_only {
            fates = fates.repeated(Code::TOPIC_ALREADY_EXISTS);
        }
        for topic in twice {
            let reason = "it is given twice in one call".to_owned();
            let error = ErrorKind::InvalidTopic { topic: topic.clone(), reason };
            fates.settle(topic, Err(error.into()));
        }
        Self { topics: once, validate_only, fates }
    }
}

impl Ask for CreateTopics {
    type Output = Outcomes;

    fn target(&self) -> Target {
        Target::Controller
    }

    fn request(&self, patience: Duration) -> Request {
        let topics = self.fates.open().filter_map(|name| self.topics.get(name)).map(NewTopic::to_wire);
        let request = CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: broker_timeout_ms(patience),
            validate_only: self.validate_only,
            unknown_tags: Vec::new(),
        };
        request.into()
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<Outcomes> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => return self.fates.no_answer(failure),
        };
        let node = answer.node;
        match response::<CreateTopicsResponse>(answer) {
            Ok(response) => self.fates.answer(
                node,
                response.topics.into_iter().map(|topic| Word {
                    topic: topic.name,
                    code: Code::new(topic.error_code),
                    message: topic.error_message,
                    value: (),
                }),
            ),
            Err(error) => Verdict::Fail(error),
        }
    }

    fn give_up(self, error: Error) -> Result<Outcomes> {
        self.fates.give_up(error)
    }
}

struct DeleteTopics {
    fates: Fates<()>,
}

impl DeleteTopics {
    fn new(names: impl Iterator<Item = TopicName>) -> Self {
        const GONE: Code = Code::UNKNOWN_TOPIC_OR_PARTITION;
        // The controller answers for itself here, so there is nothing to wait for where it does not know a topic.
        Self { fates: Fates::new("DeleteTopics", names).repeated(GONE).settling(&[GONE]) }
    }
}

impl Ask for DeleteTopics {
    type Output = Outcomes;

    /// From version 6 on, names stand in another field, beside topic ids; nothing else is new in it.
    const MAX_VERSION: Option<i16> = Some(5);

    fn target(&self) -> Target {
        Target::Controller
    }

    fn request(&self, patience: Duration) -> Request {
        let request = DeleteTopicsRequest {
            topic_names: self.fates.open().map(Into::into).collect(),
            timeout_ms: broker_timeout_ms(patience),
            ..DeleteTopicsRequest::default()
        };
        request.into()
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<Outcomes> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(failure) => return self.fates.no_answer(failure),
        };
        let node = answer.node;
        match response::<DeleteTopicsResponse>(answer) {
            Ok(response) => self.fates.answer(
                node,
                response.responses.into_iter().map(|topic| Word {
                    topic: topic.name.unwrap_or_default(),
                    code: Code::new(topic.error_code),
                    message: topic.error_message,
                    value: (),
                }),
            ),
            Err(error) => Verdict::Fail(error),
        }
    }

    fn give_up(self, error: Error) -> Result<Outcomes> {
        self.fates.give_up(error)
    }
}

#[cfg(test)]
mod tests;
