//! What an answer to a Produce request means for one batch.

use std::collections::BTreeMap;

use super::outcome::{NOWHERE, Written};
use crate::{
    engine::partition::subject,
    error::{Code, Disposition, Error},
    types::TopicPartition,
    wire::{messages::produce_response::PartitionProduceResponse, str::Str},
};

/// What to do with a batch after an attempt.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// It is in the log.
    Written(Written),
    /// Send it again.
    Retry {
        error: Error,
        /// It may be in the log: only the same stamp keeps it from getting there twice.
        maybe_written: bool,
        /// The view of the cluster is stale.
        refresh: bool,
    },
    /// The broker misses something before it (OUT_OF_ORDER_SEQUENCE_NUMBER), or has forgotten the producer. It was
    /// not written.
    Gap(Error),
    /// The broker knows a newer epoch of this producer id. It was not written.
    StaleIdentity(Error),
    /// It will never be taken. Some codes leave open whether it was written.
    Rejected { error: Error, maybe_written: bool, blame: Blame },
}

/// What a broker will never take.
#[derive(Clone, Debug)]
pub(crate) enum Blame {
    /// The batch as it is.
    Batch,
    /// So many bytes at once.
    Size {
        /// The topic's setting that holds the limit.
        setting: &'static str,
    },
    /// These of its records, by index (KIP-467).
    Records(BTreeMap<u32, Error>),
}

/// Reads the answer for one partition.
pub(crate) fn read(response: &PartitionProduceResponse, partition: &TopicPartition) -> Verdict {
    let code = Code::new(response.error_code);
    let saying = |message: Option<&Str>| {
        let message = message.filter(|message| !message.is_empty()).map(Str::to_string);
        Error::broker_saying(code, "Produce", subject(code, partition), message)
    };
    let error = || saying(response.error_message.as_ref());
    match code {
        Code::NONE => Verdict::Written(Written {
            base_offset: Some(response.base_offset).filter(|offset| *offset >= 0),
            log_append_time: Some(response.log_append_time_ms).filter(|time| *time >= 0),
        }),
        // The broker has it but no longer knows where.
        Code::DUPLICATE_SEQUENCE_NUMBER => Verdict::Written(NOWHERE),
        Code::OUT_OF_ORDER_SEQUENCE_NUMBER | Code::UNKNOWN_PRODUCER_ID => Verdict::Gap(error()),
        Code::INVALID_PRODUCER_EPOCH | Code::INVALID_PRODUCER_ID_MAPPING | Code::PRODUCER_FENCED => {
            Verdict::StaleIdentity(error())
        }
        _ => match code.disposition() {
            Disposition::Done | Disposition::Fail => {
                let complaints = response.record_errors.iter().filter_map(|record| {
                    let message = record.batch_index_error_message.as_ref();
                    let index = u32::try_from(record.batch_index).ok()?;
                    Some((index, saying(message.or(response.error_message.as_ref()))))
                });
                let blame = match code {
                    Code::MESSAGE_TOO_LARGE => Blame::Size { setting: "max.message.bytes" },
                    Code::RECORD_LIST_TOO_LARGE => Blame::Size { setting: "segment.bytes" },
                    _ if !response.record_errors.is_empty() => Blame::Records(complaints.collect()),
                    _ => Blame::Batch,
                };
                Verdict::Rejected { error: error(), maybe_written: may_have_applied(response), blame }
            }
            disposition => Verdict::Retry {
                error: error(),
                maybe_written: may_have_applied(response),
                refresh: disposition == Disposition::RefreshMetadata,
            },
        },
    }
}

/// Whether the batch may be in the log of this or another replica all the same.
fn may_have_applied(response: &PartitionProduceResponse) -> bool {
    let code = Code::new(response.error_code);
    match code {
        // A leader that is deposed while it waits for its followers tells the offset at which it appended, and its
        // successor may have the batch; who does not lead when asked tells none.
        Code::NOT_LEADER_OR_FOLLOWER => response.base_offset >= 0,
        Code::REQUEST_TIMED_OUT
        | Code::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | Code::UNKNOWN_SERVER_ERROR
        | Code::KAFKA_STORAGE_ERROR
        | Code::NETWORK_EXCEPTION => true,
        _ => code.name().is_none(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use super::*;
    use crate::error::ErrorKind;

    fn verdict(code: Code) -> Verdict {
        verdict_at(code, 7)
    }

    fn verdict_at(code: Code, base_offset: i64) -> Verdict {
        let response = PartitionProduceResponse {
            error_code: code.get(),
            base_offset,
            log_append_time_ms: -1,
            ..PartitionProduceResponse::default()
        };
        read(&response, &TopicPartition::new("t", 0))
    }

    #[test]
    fn ambiguous_codes_are_retried_as_maybe_written() {
        for code in [Code::REQUEST_TIMED_OUT, Code::NOT_ENOUGH_REPLICAS_AFTER_APPEND] {
            assert!(
                matches!(verdict(code), Verdict::Retry { maybe_written: true, refresh: false, .. }),
                "{code}"
            );
        }
    }

    #[test]
    fn what_is_not_authorized_is_the_topic_and_not_its_partition() {
        let Verdict::Rejected { error, .. } = verdict(Code::TOPIC_AUTHORIZATION_FAILED) else { panic!() };
        assert!(matches!(error.kind(), ErrorKind::NotAuthorized { name, .. } if name == "t"), "{error}");
    }

    #[test]
    fn a_stale_leader_is_retried_after_a_refresh() {
        let found = verdict_at(Code::NOT_LEADER_OR_FOLLOWER, -1);
        assert!(matches!(found, Verdict::Retry { maybe_written: false, refresh: true, .. }));
        let found = verdict_at(Code::NOT_LEADER_OR_FOLLOWER, 7);
        assert!(matches!(found, Verdict::Retry { maybe_written: true, refresh: true, .. }), "deposed later");
        let found = verdict(Code::LEADER_NOT_AVAILABLE);
        assert!(matches!(found, Verdict::Retry { maybe_written: false, refresh: true, .. }));
    }

    #[test]
    fn a_duplicate_is_written_and_an_unknown_code_is_rejected_as_maybe_written() {
        assert!(matches!(
            verdict(Code::NONE),
            Verdict::Written(Written { base_offset: Some(7), log_append_time: None })
        ));
        assert!(matches!(
            verdict(Code::DUPLICATE_SEQUENCE_NUMBER),
            Verdict::Written(Written { base_offset: None, .. })
        ));
        assert!(matches!(verdict(Code::new(9_999)), Verdict::Rejected { maybe_written: true, .. }));
        assert!(matches!(verdict(Code::MESSAGE_TOO_LARGE), Verdict::Rejected { maybe_written: false, .. }));
    }
}
