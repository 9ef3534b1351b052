//! The tokio drivers: they move bytes, calls and time between the machines and the world, and decide nothing.

pub mod transport;
