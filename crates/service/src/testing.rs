//! Tools for tests: feature `testing`.

pub mod golden;
mod mock;
mod router;

pub use self::{mock::MockProducer, router::TestRouter};
