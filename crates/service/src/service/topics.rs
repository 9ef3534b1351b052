//! The topics that a service needs.

use std::{collections::BTreeMap, time::Duration};

use milena::{Client, Code, ErrorKind, NewTopic, TopicName};

use super::error::ServiceError;
use crate::clock;

/// How long topics may be missing that are not created here.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sees to it that all topics exist: those that are read, and beside each its dead-letter topic, which is created if that
/// is allowed.
pub(super) async fn provide(
    client: &Client,
    wanted: &[(TopicName, Option<TopicName>)],
    create: bool,
) -> Result<(), ServiceError> {
    let mut counts = described(client, wanted).await?;
    // A broker may not have heard yet of a topic that was created a moment ago.
    let until = clock::now() + PATIENCE;
    let is_complete = |counts: &BTreeMap<TopicName, u32>| {
        let is_there = |topic| counts.contains_key(topic);
        wanted.iter().all(|(topic, dead_letters)| {
            is_there(topic) && (create || dead_letters.as_ref().is_none_or(is_there))
        })
    };
    while !is_complete(&counts) && clock::now() < until {
        pause().await;
        counts = described(client, wanted).await?;
    }
    let missing: Vec<_> = wanted.iter().filter(|(topic, _)| !counts.contains_key(topic)).collect();
    if !missing.is_empty() {
        let topics = missing.into_iter().map(|(topic, _)| (topic.clone(), None)).collect();
        return Err(ServiceError::MissingTopics { topics, cause: None });
    }
    let lacking = wanted.iter().filter_map(|(topic, dead_letters)| {
        let dead_letters = dead_letters.as_ref().filter(|name| !counts.contains_key(*name))?;
        Some((dead_letters.clone(), counts.get(topic).copied()))
    });
    // Several topics may share one.
    let lacking: BTreeMap<TopicName, Option<u32>> = lacking.collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let topics = || lacking.iter().map(|(name, count)| (name.clone(), *count)).collect();
    if !create {
        return Err(ServiceError::MissingTopics { topics: topics(), cause: None });
    }
    let new = lacking.iter().map(|(name, count)| NewTopic::new(name).partitions(count.unwrap_or(1)));
    let new: Vec<NewTopic> = new.collect();
    for (_, created) in client.admin().create_topics(new).await? {
        match created {
            Ok(_) => {}
            // Another instance was faster.
            Err(error) if error.code() == Some(Code::TOPIC_ALREADY_EXISTS) => {}
            Err(error) => return Err(ServiceError::MissingTopics { topics: topics(), cause: Some(error) }),
        }
    }
    Ok(())
}

/// How many partitions each topic has, of those that exist.
async fn described(
    client: &Client,
    wanted: &[(TopicName, Option<TopicName>)],
) -> Result<BTreeMap<TopicName, u32>, ServiceError> {
    let mut names: Vec<TopicName> = wanted.iter().map(|(topic, _)| topic.clone()).collect();
    names.extend(wanted.iter().filter_map(|(_, dead_letters)| dead_letters.clone()));
    let mut counts = BTreeMap::new();
    for (topic, description) in client.admin().describe_topics(names).await? {
        match description {
            Ok(description) => {
                counts.insert(topic, u32::try_from(description.partitions.len()).unwrap_or(u32::MAX));
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(counts)
}

#[expect(clippy::disallowed_methods, reason = "brokers are asked again, as they do not tell")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn is_missing(error: &milena::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownTopic { .. })
        || error.code() == Some(Code::UNKNOWN_TOPIC_OR_PARTITION)
}
