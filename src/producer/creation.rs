//! Topics that are looked up, and created where that is wanted and they are not there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::settings::Settings;
use crate::{
    client::Client,
    engine::{
        catalog::snapshot::Topic,
        machine::{Call, Purpose, Target, Token, deadline_after},
    },
    error::{Error, ErrorKind, Result},
    net::mailbox::ReplyTo,
    sync::lock,
    types::TopicName,
    wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic},
};

/// A topic is asked to be created no more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// The topics that brokers were asked to create, and when last.
#[derive(Debug, Default)]
pub(super) struct Creation {
    asked: Mutex<HashMap<TopicName, Instant>>,
}

impl Creation {
    /// The topic, as soon as it is known.
    ///
    /// # Errors
    /// Those of [`Client::topic`].
    pub(super) async fn look_up(
        &self,
        client: &Client,
        name: &TopicName,
        settings: &Settings,
    ) -> Result<Arc<Topic>> {
        let deadline = deadline_after(client.now(), settings.max_block);
        loop {
            let left = deadline.saturating_duration_since(client.now().instant);
            let wait = if self.ask(client, name, settings)? { left.min(INTERVAL) } else { left };
            match client.topic(name, wait, "max_block").await {
                Err(error) if is_unknown(&error) => {
                    if wait >= left {
                        let (topic, waited) = (name.clone(), settings.max_block);
                        return Err(ErrorKind::UnknownTopic { topic, waited, setting: "max_block" }.into());
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// The topic, if it is known now.
    ///
    /// # Errors
    /// Those of [`Client::topic_now`].
    pub(super) fn look_up_now(
        &self,
        client: &Client,
        name: &TopicName,
        settings: &Settings,
    ) -> Result<Arc<Topic>> {
        self.ask(client, name, settings)?;
        client.topic_now(name)
    }

    /// Asks a broker to create the topic if it is not known, that is wanted, and it was not just asked; tells whether it is
    /// wanted. The view of the cluster will tell what came of it.
    fn ask(&self, client: &Client, name: &TopicName, settings: &Settings) -> Result<bool> {
        if !settings.create_topics || client.snapshot().topic(name).is_some() {
            return Ok(false);
        }
        TopicName::check(name)?;
        let now = client.now();
        let mut asked = lock(&self.asked);
        // No more are kept than are being waited for.
        asked.retain(|_, at| now.instant.saturating_duration_since(*at) < INTERVAL);
        if asked.contains_key(name) {
            return Ok(true);
        }
        asked.insert(name.clone(), now.instant);
        drop(asked);
        let topic = MetadataRequestTopic { name: Some(name.as_str().into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        let call = Call {
            token: Token(0),
            target: Target::Any,
            purpose: Purpose::General,
            request: request.into(),
            deadline: deadline_after(now, client.config().request_timeout),
            max_version: None,
        };
        let (reply, _) = ReplyTo::oneshot();
        client.submit(call, reply);
        Ok(true)
    }
}

fn is_unknown(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownTopic { .. })
}
