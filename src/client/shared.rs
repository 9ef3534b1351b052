//! What the handles, the driver and the roles share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch};

use crate::{
    config::Config,
    engine::{
        catalog::snapshot::{LeaderHint, Snapshot, Topic},
        machine::Call,
    },
    error::{ErrorKind, Result},
    net::{clock::Clock, mailbox::ReplyTo, transport::Transport},
    types::TopicName,
};

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Clock,
    snapshot: watch::Sender<Arc<Snapshot>>,
    closed: AtomicBool,
}

impl Shared {
    pub(super) fn start(config: Config, _transport: Arc<dyn Transport>, _runtime: Handle) -> Arc<Self> {
        let (snapshot, _) = watch::channel(Arc::default());
        Arc::new(Self { config, clock: Clock::start(), snapshot, closed: AtomicBool::new(false) })
    }

    pub(super) async fn first_answer(&self) -> Result<()> {
        Err(ErrorKind::Closed { what: "client" }.into())
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn submit(&self, _call: Call, reply: ReplyTo) {
        drop(reply);
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    pub(super) fn want(&self, _topic: &TopicName) {}

    pub(super) fn refresh(&self) {}

    pub(super) fn leader_changed(&self, _hint: LeaderHint) {}

    pub(super) async fn topic(
        &self,
        name: &TopicName,
        timeout: Duration,
        setting: &'static str,
    ) -> Result<Arc<Topic>> {
        let waited = timeout;
        Err(ErrorKind::UnknownTopic { topic: name.clone(), waited, setting }.into())
    }
}
