//! Whether the user still asks for records (KIP-62).

use std::time::{Duration, Instant};

use crate::engine::{
    hand::Activity,
    machine::{Now, deadline_after},
};

/// Watches one consumer's user.
#[derive(Debug)]
pub(super) struct Attendance {
    /// How long the user may go without asking.
    limit: Duration,
    /// The time between two looks.
    interval: Duration,
    seen: Activity,
    last: Instant,
    look_at: Instant,
    is_absent: bool,
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Nothing,
    /// The user has not asked for as long as this, which is too long.
    Left(Duration),
    /// The user asks again.
    Returned,
}

impl Attendance {
    pub(super) fn new(now: Now, limit: Duration, interval: Duration) -> Self {
        let (last, look_at) = (now.instant, deadline_after(now, interval.min(limit)));
        Self { limit, interval, seen: Activity::default(), last, look_at, is_absent: false }
    }

    /// Looks at what the user does.
    pub(super) fn look(&mut self, now: Now, activity: Activity) -> Sight {
        let is_active = activity.pulls != self.seen.pulls;
        if self.is_absent {
            if !is_active {
                return Sight::Nothing;
            }
            self.seen = activity;
            self.is_absent = false;
            self.rest(now);
            return Sight::Returned;
        }
        if self.look_at > now.instant {
            return Sight::Nothing;
        }
        self.seen = activity;
        self.look_at = deadline_after(now, self.interval.min(self.limit));
        if is_active || activity.is_waiting {
            self.last = now.instant;
        }
        let absent = now.instant.saturating_duration_since(self.last);
        self.is_absent = absent > self.limit;
        if self.is_absent { Sight::Left(absent) } else { Sight::Nothing }
    }

    /// The time counts from now.
    pub(super) fn rest(&mut self, now: Now) {
        self.last = now.instant;
        self.look_at = deadline_after(now, self.interval.min(self.limit));
    }

    /// As [`rest`](Self::rest), but one who has left is not back.
    pub(super) fn rest_unless_absent(&mut self, now: Now) {
        if !self.is_absent {
            self.last = now.instant;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.is_absent).then_some(self.look_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::script;

    const LIMIT: Duration = Duration::from_secs(60);
    const INTERVAL: Duration = Duration::from_secs(3);

    fn activity(pulls: u64, is_waiting: bool) -> Activity {
        Activity { pulls, is_waiting }
    }

    #[test]
    fn a_user_who_asks_or_waits_is_there() {
        let mut now = script::start();
        let mut attendance = Attendance::new(now, LIMIT, INTERVAL);
        for pulls in 1..40 {
            now = now.after(INTERVAL);
            assert_eq!(attendance.look(now, activity(pulls, false)), Sight::Nothing);
        }
        for _ in 0..40 {
            now = now.after(INTERVAL);
            assert_eq!(attendance.look(now, activity(40, true)), Sight::Nothing);
        }
    }

    #[test]
    fn a_user_who_stops_asking_has_left_until_the_next_call() {
        let mut now = script::start();
        let mut attendance = Attendance::new(now, LIMIT, INTERVAL);
        now = now.after(INTERVAL);
        assert_eq!(attendance.look(now, activity(1, false)), Sight::Nothing);
        now = now.after(LIMIT + Duration::from_millis(1));
        assert_eq!(attendance.look(now, activity(1, false)), Sight::Left(LIMIT + Duration::from_millis(1)));
        assert_eq!((attendance.look(now, activity(1, false)), attendance.deadline()), (Sight::Nothing, None));
        assert_eq!(attendance.look(now, activity(2, false)), Sight::Returned);
        now = now.after(LIMIT);
        assert_eq!(attendance.look(now, activity(2, false)), Sight::Nothing, "counted from the return");
    }
}
