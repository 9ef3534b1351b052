//! What the scenarios do, one file per role. [`SCENARIOS`](crate::suite::SCENARIOS) lists them.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests: they fail by a panic"
)]

pub(crate) mod admin;
pub(crate) mod churn;
pub(crate) mod companions;
pub(crate) mod consumer;
pub(crate) mod elsewhere;
pub(crate) mod fetching;
pub(crate) mod groups;
pub(crate) mod producer;
pub(crate) mod recreated;
pub(crate) mod refusals;
pub(crate) mod services;
pub(crate) mod share;
pub(crate) mod transactions;
pub(crate) mod transactions_of_groups;
pub(crate) mod versions;
