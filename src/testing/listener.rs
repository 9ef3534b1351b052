//! Serves the machine: one task owns it, each connection is a task of its own, and bounded channels lie between.

pub(super) mod actor;
mod connection;
pub(super) mod handle;
pub(super) mod memory;
pub(super) mod tcp;
