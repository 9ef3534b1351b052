//! What the answers of coordinators mean (kafka-rules: fencing; KIP-588, KIP-890, KIP-1050).

use crate::error::{Code, Disposition};

/// What a coordinator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// ApiVersions: how it speaks of transactions.
    Learn,
    /// InitProducerId.
    Initialise,
    /// AddPartitionsToTxn.
    AddPartitions,
    /// AddOffsetsToTxn.
    AddOffsets,
    /// TxnOffsetCommit, of the group's coordinator.
    CommitOffsets,
    /// EndTxn.
    End { commit: bool },
}

impl Step {
    pub(super) const fn request(self) -> &'static str {
        match self {
            Self::Learn => "ApiVersions",
            Self::Initialise => "InitProducerId",
            Self::AddPartitions => "AddPartitionsToTxn",
            Self::AddOffsets => "AddOffsetsToTxn",
            Self::CommitOffsets => "TxnOffsetCommit",
            Self::End { .. } => "EndTxn",
        }
    }
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// Ask again, after a short wait where what is in the way passes soon.
    Again {
        soon: bool,
    },
    /// Find the coordinator first.
    Elsewhere,
    /// The transaction can only be aborted.
    Abort,
    /// Likewise, and the coordinator does not know the producer id: another epoch, or another id, has to be asked for.
    Renew,
    /// Another instance has taken over.
    Fenced,
    /// Nothing helps.
    Fatal,
}

pub(super) fn of(step: Step, code: Code) -> Verdict {
    let starts = matches!(step, Step::Learn | Step::Initialise);
    let abort = || match step {
        // An abort that can only be aborted would never end.
        Step::Learn | Step::Initialise | Step::End { commit: false } => Verdict::Fatal,
        _ => Verdict::Abort,
    };
    match code {
        Code::CONCURRENT_TRANSACTIONS => Verdict::Again { soon: true },
        Code::INVALID_PRODUCER_EPOCH | Code::PRODUCER_FENCED => Verdict::Fenced,
        Code::UNKNOWN_PRODUCER_ID | Code::INVALID_PRODUCER_ID_MAPPING if !starts => Verdict::Renew,
        Code::TRANSACTION_ABORTABLE => abort(),
        // It is not known what became of it, and asking the same again does no harm.
        Code::UNKNOWN_SERVER_ERROR if matches!(step, Step::End { .. } | Step::Initialise) => {
            Verdict::Again { soon: false }
        }
        Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | Code::INVALID_TXN_STATE
        | Code::UNSUPPORTED_VERSION
        | Code::UNSUPPORTED_FOR_MESSAGE_FORMAT => Verdict::Fatal,
        _ => match code.disposition() {
            Disposition::Done => Verdict::Done,
            Disposition::FindCoordinator => Verdict::Elsewhere,
            Disposition::Retry | Disposition::RefreshMetadata => Verdict::Again { soon: false },
            // An ending that is refused for a reason of no name may have happened or not.
            Disposition::Fail if matches!(step, Step::End { .. }) => Verdict::Fatal,
            Disposition::Fail => abort(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 7] = [
        Step::Learn,
        Step::Initialise,
        Step::AddPartitions,
        Step::AddOffsets,
        Step::CommitOffsets,
        Step::End { commit: true },
        Step::End { commit: false },
    ];

    #[test]
    fn a_fence_is_final_whatever_was_asked() {
        for step in STEPS {
            assert_eq!(of(step, Code::PRODUCER_FENCED), Verdict::Fenced, "{step:?}");
            assert_eq!(of(step, Code::INVALID_PRODUCER_EPOCH), Verdict::Fenced, "{step:?}");
        }
    }

    #[test]
    fn what_is_abortable_is_fatal_in_an_abort() {
        let verdicts = STEPS.map(|step| of(step, Code::TRANSACTION_ABORTABLE));
        let (abort, fatal) = (Verdict::Abort, Verdict::Fatal);
        assert_eq!(verdicts, [fatal, fatal, abort, abort, abort, abort, fatal]);
    }

    #[test]
    fn a_refused_group_or_topic_costs_the_transaction_and_not_the_producer() {
        for code in [Code::GROUP_AUTHORIZATION_FAILED, Code::ILLEGAL_GENERATION, Code::FENCED_INSTANCE_ID] {
            assert_eq!(of(Step::CommitOffsets, code), Verdict::Abort);
        }
        assert_eq!(of(Step::AddPartitions, Code::TOPIC_AUTHORIZATION_FAILED), Verdict::Abort);
        assert_eq!(of(Step::AddPartitions, Code::OPERATION_NOT_ATTEMPTED), Verdict::Abort);
    }

    #[test]
    fn what_passes_is_asked_again() {
        for step in STEPS {
            assert_eq!(of(step, Code::COORDINATOR_LOAD_IN_PROGRESS), Verdict::Again { soon: false });
            assert_eq!(of(step, Code::NOT_COORDINATOR), Verdict::Elsewhere);
            assert_eq!(of(step, Code::CONCURRENT_TRANSACTIONS), Verdict::Again { soon: true });
        }
        assert_eq!(
            of(Step::End { commit: true }, Code::UNKNOWN_SERVER_ERROR),
            Verdict::Again { soon: false }
        );
        let unknown = of(Step::AddPartitions, Code::UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(unknown, Verdict::Again { soon: false });
    }

    #[test]
    fn an_id_that_is_not_known_is_renewed_but_for_the_asking_of_one() {
        assert_eq!(of(Step::AddOffsets, Code::INVALID_PRODUCER_ID_MAPPING), Verdict::Renew);
        assert_eq!(of(Step::Initialise, Code::INVALID_PRODUCER_ID_MAPPING), Verdict::Fatal);
    }
}
