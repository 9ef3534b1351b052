//! Tasks beside the handlers, and who starts them again when they fail.

use std::{panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time};

use super::shared::Shared;
use crate::{clock, extract::Stopping, failure::BoxError, panics, retry::Retry};

/// A run of a task.
type Run = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A task, as often as it is started.
pub(super) struct Task {
    pub(super) name: String,
    pub(super) start: Box<dyn Fn(Stopping) -> Run + Send>,
}

/// The tasks that run.
pub(super) struct Tasks {
    running: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    pub(super) fn start(tasks: Vec<Task>, shared: &Arc<Shared>) -> Self {
        let (stop, _) = watch::channel(false);
        let mut running = JoinSet::new();
        for task in tasks {
            running.spawn(supervise(task, stop.subscribe(), Arc::clone(shared)));
        }
        Self { running, stop }
    }

    /// Tells the tasks to stop, and drops those that do not.
    pub(super) async fn stop(mut self, timeout: Duration) {
        self.stop.send_replace(true);
        let ended = async { while self.running.join_next().await.is_some() {} };
        #[expect(clippy::disallowed_methods, reason = "tasks are the user's, and may hang")]
        let ended = time::timeout(timeout, ended).await;
        if ended.is_err() {
            tracing::warn!(
                running = self.running.len(),
                ?timeout,
                "tasks did not end in time (`drain_timeout`): they are dropped"
            );
            self.running.shutdown().await;
        }
    }
}

/// Runs a task, and again whenever it fails, until it ends well or is told to stop.
async fn supervise(task: Task, stop: watch::Receiver<bool>, shared: Arc<Shared>) {
    let waits = Retry::times(u32::MAX - 1).backoff(Duration::from_secs(1), 2, Duration::from_secs(30));
    let mut failures: u32 = 0;
    loop {
        let mut run = (task.start)(Stopping::new(stop.clone()));
        let began = clock::now();
        let ended = panics::caught(AssertUnwindSafe(|context: &mut std::task::Context<'_>| {
            run.as_mut().poll(context)
        }))
        .await;
        let error = match ended {
            Ok(Ok(())) => break,
            Ok(Err(error)) => error.to_string(),
            Err(said) => format!("it has panicked: {said}"),
        };
        if *stop.borrow() {
            tracing::warn!(task = task.name, error, "a task has failed while it stopped");
            break;
        }
        // Who has run for long has failed for another reason than before.
        let has_run_long = clock::now().saturating_duration_since(began) > Duration::from_secs(60);
        failures = if has_run_long { 1 } else { failures.saturating_add(1) };
        let delay = waits.delay(failures, 0.5 + fastrand::f64() / 2.0).unwrap_or_default();
        tracing::error!(task = task.name, error, ?delay, "a task has failed: it is started again");
        shared.standing().failing.insert(task.name.clone(), error);
        if stopped_within(delay, stop.clone()).await {
            break;
        }
        shared.standing().failing.remove(&task.name);
    }
    shared.standing().failing.remove(&task.name);
}

#[expect(clippy::disallowed_methods, reason = "this is where the wait before another run is waited for")]
async fn stopped_within(delay: Duration, mut stop: watch::Receiver<bool>) -> bool {
    time::timeout(delay, stop.wait_for(|stop| *stop)).await.is_ok()
}
