//! The tokio drivers: they move bytes, calls and time between the machines and the world, and decide nothing.

pub(crate) mod clock;
pub(crate) mod mailbox;
pub(crate) mod task;
pub mod transport;
