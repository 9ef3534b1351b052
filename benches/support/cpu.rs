//! How long this thread has worked.

use std::time::Duration;

/// The time that this thread has spent on a processor. Only differences mean something; where the system does not tell
/// (only Linux does, here), it is the time that passes, waits included.
pub(crate) fn thread_time() -> Duration {
    // It counts up to the last time that the scheduler looked: have it look.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(passed_time, Duration::from_nanos)
}

fn passed_time() -> Duration {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
