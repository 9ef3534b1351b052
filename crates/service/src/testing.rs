//! Tools for tests: feature `testing`.

mod mock;

pub use self::mock::MockProducer;
