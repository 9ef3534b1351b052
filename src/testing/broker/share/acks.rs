//! What members say about records that they have acquired.

use std::iter;

use crate::error::Code;
use crate::wire::str::Str;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testing::broker) enum AckType {
    /// There is none at this offset.
    Gap,
    Accept,
    /// It shall be delivered again.
    Release,
    /// It shall not be delivered again.
    Reject,
    /// It takes longer (KIP-1222).
    Renew,
}

/// Why what a member says does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::testing::broker) struct Refusal {
    pub(in crate::testing::broker) code: Code,
    message: Option<&'static str>,
}

impl Refusal {
    /// The records are not locked for the member.
    pub(super) const NOT_LOCKED: Self = Self {
        code: Code::INVALID_RECORD_STATE,
        message: Some("Member is not the owner of offset or record is not acquired"),
    };
    /// Nobody has been given records as far as that.
    pub(super) const NOT_IN_FLIGHT: Self = Self {
        code: Code::INVALID_REQUEST,
        message: Some("Batch record not found. The first offset in request is past acquired records."),
    };

    pub(super) fn message(self) -> Option<Str> {
        self.message.map(Str::from)
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, message: None }
    }
}

/// What became of the records from `first` to `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::testing::broker) struct Ack {
    pub(in crate::testing::broker) first: i64,
    pub(in crate::testing::broker) last: i64,
    /// One for all, or one for each.
    types: Vec<AckType>,
}

impl Ack {
    /// What became of one of them.
    pub(in crate::testing::broker) fn of(&self, offset: i64) -> AckType {
        let index = if self.types.len() > 1 { offset.saturating_sub(self.first) } else { 0 };
        let index = usize::try_from(index).unwrap_or(0);
        self.types.get(index).copied().unwrap_or(AckType::Gap)
    }

    fn new(first: i64, last: i64, types: &[i8], may_renew: bool) -> Result<Self, Code> {
        let types: Result<Vec<AckType>, Code> =
            types.iter().map(|number| ack_type(*number, may_renew)).collect();
        let types = types?;
        let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
        let is_right = match types.len() {
            0 => false,
            1 => true,
            len => i64::try_from(len).ok() == count,
        };
        if first < 0 || last < first || last == i64::MAX || !is_right {
            return Err(Code::INVALID_REQUEST);
        }
        Ok(Self { first, last, types })
    }
}

fn ack_type(number: i8, may_renew: bool) -> Result<AckType, Code> {
    match number {
        0 => Ok(AckType::Gap),
        1 => Ok(AckType::Accept),
        2 => Ok(AckType::Release),
        3 => Ok(AckType::Reject),
        4 if may_renew => Ok(AckType::Renew),
        _ => Err(Code::INVALID_REQUEST),
    }
}

/// The acknowledgements for a partition: the first and last offset of each run, and what became of them.
pub(in crate::testing::broker) fn of_runs<'a>(
    runs: impl Iterator<Item = (i64, i64, &'a Vec<i8>)>,
    may_renew: bool,
) -> Result<Vec<Ack>, Refusal> {
    let acks = runs.map(|(first, last, types)| Ack::new(first, last, types, may_renew));
    in_order(acks.collect::<Result<_, Code>>()?)
}

/// They rise. One may begin where the one before ends, which is then refused as what is not locked any more.
fn in_order(acks: Vec<Ack>) -> Result<Vec<Ack>, Refusal> {
    let rises = iter::zip(&acks, acks.iter().skip(1)).all(|(a, b)| a.last <= b.first);
    if rises { Ok(acks) } else { Err(Code::INVALID_REQUEST.into()) }
}
