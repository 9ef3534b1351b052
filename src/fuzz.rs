//! What the fuzz targets do with their bytes. The crate `fuzz/` hands these functions to libFuzzer, and
//! `tests/fuzz_seeds.rs` replays the seeds through them on any toolchain.
//!
//! Each panics on what must not happen, and on nothing else. None reads a clock or draws at random: the same bytes take
//! the same way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a finding is reported"
)]

mod batch;
mod codec;
mod frame;
mod input;
mod link;
mod produce;
mod request;
mod response;

pub use batch::batch;
pub use codec::codec;
pub use frame::frame;
pub use link::link;
pub use produce::produce;
pub use request::request;
pub use response::{canonical, response};

/// Takes a fuzzer's bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is the name of its program in `fuzz/` and of its seeds' directory.
pub const TARGETS: &[(&str, Target)] = &[
    ("batch", batch),
    ("codec", codec),
    ("frame", frame),
    ("link", link),
    ("produce", produce),
    ("request", request),
    ("response", response),
];
