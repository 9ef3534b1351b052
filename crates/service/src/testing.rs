//! Tools for tests: feature `testing`.

mod mock;
mod router;

pub use self::{mock::MockProducer, router::TestRouter};
