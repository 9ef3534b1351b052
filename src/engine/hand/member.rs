//! Under which membership of a group records were handed out.

use crate::types::MemberMetadata;

/// The membership now, and the one under which the last records were handed out: what was read in an earlier generation
/// must not be committed in a later one, in which somebody else may own it.
#[derive(Debug, Default)]
pub(super) struct Membership {
    now: Option<MemberMetadata>,
    /// Whether `now` has changed since the last hand-out.
    changed: bool,
    worked: Option<MemberMetadata>,
}

impl Membership {
    pub(super) fn set(&mut self, member: Option<MemberMetadata>) {
        if member.is_some() && self.now != member {
            self.now = member;
            self.changed = true;
        }
    }

    /// Records are handed out.
    pub(super) fn work(&mut self) {
        if self.changed {
            self.changed = false;
            self.worked.clone_from(&self.now);
        }
    }

    /// The one under which the user works; before the first record, the one that is.
    pub(super) fn worked(&self) -> Option<MemberMetadata> {
        self.worked.clone().or_else(|| self.now.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_stays_with_its_generation() {
        let member =
            |generation| Some(MemberMetadata { member_id: "m".into(), instance_id: None, generation });
        let mut membership = Membership::default();
        assert_eq!(membership.worked(), None);
        membership.set(member(1));
        assert_eq!(membership.worked(), member(1));
        membership.work();
        membership.set(None);
        membership.set(member(2));
        assert_eq!(membership.worked(), member(1), "nothing was handed out since");
        membership.work();
        assert_eq!(membership.worked(), member(2));
    }
}
