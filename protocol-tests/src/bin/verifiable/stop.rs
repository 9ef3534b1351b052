//! When to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// Says that the program is to stop: a signal has come, or there is nothing left to do. Clones say the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    requested: Arc<watch::Sender<bool>>,
}

impl Stop {
    /// Stops at SIGTERM and SIGINT. Further signals change nothing: the program is closing.
    pub(crate) fn on_signals() -> Result<Self, String> {
        let stop = Self { requested: Arc::new(watch::Sender::new(false)) };
        let signals = stop.clone();
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let listen = |kind| signal(kind).map_err(|error| format!("listen for signals: {error}"));
            let mut terminate = listen(SignalKind::terminate())?;
            let mut interrupt = listen(SignalKind::interrupt())?;
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                    signals.request();
                }
            });
        }
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                signals.request();
            }
        });
        Ok(stop)
    }

    pub(crate) fn request(&self) {
        self.requested.send_replace(true);
    }

    pub(crate) fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Returns once it is requested.
    pub(crate) async fn requested(&self) {
        // The sender is held here, so the channel cannot close.
        let _ = self.requested.subscribe().wait_for(|requested| *requested).await;
    }
}
