//! The tokio drivers: they move bytes, calls and time between the machines and the world, and decide nothing.

pub(crate) mod clock;
mod dial;
pub(crate) mod ending;
mod link;
pub(crate) mod mailbox;
pub(crate) mod pool;
pub(crate) mod task;
pub mod transport;

#[cfg(test)]
pub(crate) mod fake;
