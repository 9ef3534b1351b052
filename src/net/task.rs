//! Starting tasks and waiting for a time: all that the drivers of the roles ask of the runtime.

use std::{future::Future, time::Instant};

use tokio::runtime::Handle;

use crate::error::{ErrorKind, Result};

/// Starts the task of a role.
///
/// # Errors
/// [`ErrorKind::NoRuntime`] outside a tokio runtime, naming the call.
pub(crate) fn spawn(call: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let runtime = Handle::try_current().map_err(|_| ErrorKind::NoRuntime { call })?;
    runtime.spawn(task);
    Ok(())
}

/// Runs what keeps a processor busy for a while where it does not keep tasks from running. Called from a task.
#[expect(clippy::disallowed_methods, reason = "this is how a driver runs what burns processor time")]
pub(crate) fn spawn_blocking(work: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(work));
}

/// Tells those who wait in their caller's task whether they can.
///
/// # Errors
/// [`ErrorKind::NoRuntime`] outside a tokio runtime, naming the call.
pub(crate) fn check_runtime(call: &'static str) -> Result<()> {
    Handle::try_current().map(drop).map_err(|_| ErrorKind::NoRuntime { call }.into())
}

/// Waits until a deadline; for ever where there is none.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        #[expect(clippy::disallowed_methods, reason = "this is how a driver waits for a machine's deadline")]
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
