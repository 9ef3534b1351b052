//! A service: a router, a group, and their life from start to stop.

mod error;
mod health;
mod intake;
mod report;
mod running;
mod shared;
mod tables;
mod tasks;
mod topics;
mod worker;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use milena::{Client, Commit, Consumer, ConsumerBuilder, TopicName};
use tokio::{sync::watch, task::JoinHandle};

#[cfg(feature = "axum")]
pub(crate) use self::report::Report;
pub(crate) use self::running::told_to_stop;
pub use self::{
    error::ServiceError,
    health::{HaltedLane, Health},
    running::Running,
};
use self::{
    health::Check,
    intake::Intake,
    shared::{Listener, Shared, Target},
    tasks::{Task, Tasks},
};
use crate::{
    delivery::Place,
    extract::Stopping,
    failure::BoxError,
    lanes::{Lanes, Limits},
    metrics::HandlerMeters,
    naming::Naming,
    publisher::Publisher,
    route::DeadLetters,
    router::{Entry, Router},
};

/// Handles the records of a router's topics, as a member of a group.
///
/// Every record is handled at least once, and none is skipped in silence: it is done, or dead-lettered, or its lane stands
/// still and the service is not [ready](Health). Records of one key are handled one behind the other, those of different
/// keys side by side.
///
/// ```no_run
/// use milena::{Client, Config};
/// use milena_service::{IntoRoute, Json, Router, Service};
///
/// async fn on_order(Json(order): Json<serde_json::Value>) {
///     println!("{order}");
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), milena_service::ServiceError> {
///     let client = Client::connect(Config::new(["localhost:9092"])).await?;
///     Service::new(&client, "billing")
///         .router(Router::new().topic("orders", on_order.dead_letter()))
///         .run()
///         .await
/// }
/// ```
#[must_use = "a service does nothing until it is started"]
pub struct Service {
    client: Client,
    group: String,
    router: Router,
    settings: Settings,
    publisher: Option<Publisher>,
    configure: Box<dyn FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send>,
    checks: Vec<Check>,
    tasks: Vec<Task>,
}

#[derive(Clone, Debug)]
struct Settings {
    limits: Limits,
    drain_timeout: Duration,
    commit_interval: Duration,
    naming: Naming,
    create_topics: bool,
}

impl Service {
    /// A service of this group.
    pub fn new(client: &Client, group: impl Into<String>) -> Self {
        Self {
            client: client.clone(),
            group: group.into(),
            router: Router::new(),
            settings: Settings {
                limits: Limits { concurrency: 64, bytes: 64 << 20 },
                drain_timeout: Duration::from_secs(20),
                commit_interval: Duration::from_secs(1),
                naming: Naming::default(),
                create_topics: true,
            },
            publisher: None,
            configure: Box::new(|consumer| consumer),
            checks: Vec::new(),
            tasks: Vec::new(),
        }
    }

    /// The topics and their handlers.
    pub fn router(mut self, router: Router) -> Self {
        self.router = self.router.merge(router);
        self
    }

    /// How many handlers run at once. The default is 64.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.limits.concurrency = handlers;
        self
    }

    /// How many bytes of records are read ahead of their handlers; a fetched batch may go beyond it. Partitions whose
    /// records pile up behind one that cannot be handled have a share of this each, besides. The default is 64 MiB.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.bytes = bytes;
        self
    }

    /// How long handlers that run may take to end when the service stops, or gives partitions up. What they had not
    /// done by then is given back, and handled by the next owner. The default is 20 s, within the 30 s that Kubernetes
    /// gives a process.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    #[cfg(feature = "axum")]
    pub(crate) const fn drain_timeout_setting(&self) -> Duration {
        self.settings.drain_timeout
    }

    /// How often offsets are committed, besides when partitions are given up and when the service stops. The default is
    /// 1 s.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval;
        self
    }

    /// How dead-letter topics are called. The default is `{topic}.{group}.dlq`.
    pub fn naming(mut self, naming: Naming) -> Self {
        self.settings.naming = naming;
        self
    }

    /// Whether dead-letter topics that are missing are created, with as many partitions as the topic has and the
    /// cluster's replication. If not, it is an error that lists them. The default is `true`. The topics of the router are
    /// never created.
    pub fn create_topics(mut self, create: bool) -> Self {
        self.settings.create_topics = create;
        self
    }

    /// What handlers publish, and dead letters, go through this publisher. The default is one of the service's own.
    pub fn publisher(mut self, publisher: Publisher) -> Self {
        self.publisher = Some(publisher);
        self
    }

    /// Further settings of the consumer: where a new group starts, isolation, static membership, and so on. Its topics,
    /// its listener and how it commits are the service's.
    pub fn consumer(
        mut self,
        configure: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder + Send + 'static,
    ) -> Self {
        let former = std::mem::replace(&mut self.configure, Box::new(|consumer| consumer));
        self.configure = Box::new(move |consumer| configure(former(consumer)));
        self
    }

    /// Makes the service [ready](Health) only when this says so: a read model, say, or a database.
    pub fn ready_when(
        mut self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push((name.into(), Arc::new(check)));
        self
    }

    /// A task that runs beside the handlers, for as long as the service does. If it fails or panics, the service is not
    /// ready, and the task is started again after 1 s, and twice as long each time up to 30 s; if it ends well, it is not.
    /// When handlers have ended it is told to stop, and has the [`drain_timeout`](Self::drain_timeout) to do so.
    ///
    /// ```no_run
    /// # fn example(service: milena_service::Service) -> milena_service::Service {
    /// use std::time::Duration;
    ///
    /// service.task("cleaner", |mut stopping| async move {
    ///     while tokio::time::timeout(Duration::from_secs(60), stopping.requested()).await.is_err() {
    ///         println!("cleaning");
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn task<F>(mut self, name: impl Into<String>, start: impl Fn(Stopping) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.tasks
            .push(Task { name: name.into(), start: Box::new(move |stopping| Box::pin(start(stopping))) });
        self
    }

    /// Starts the service: checks its topics, and joins its group.
    ///
    /// # Errors
    /// [`ServiceError::Setup`] for a router without topics or with one twice, [`ServiceError::MissingTopics`], and
    /// [`ServiceError::Client`] for what the client refuses.
    ///
    /// # Cancel safety
    /// Dropped, nothing has been started, though dead-letter topics may have been created.
    pub async fn start(self) -> Result<Running, ServiceError> {
        let entries = self.router.into_entries();
        check_setup(&self.group, &entries)?;
        let Settings { limits, drain_timeout, commit_interval, naming, create_topics } = self.settings;
        let dead_letters = |entry: &Entry| match &entry.plan.dead_letters {
            DeadLetters::None => None,
            DeadLetters::Named => Some(naming.dead_letters(&entry.topic, &self.group)),
            DeadLetters::To(topic) => Some(topic.clone()),
        };
        let wanted: Vec<(TopicName, Option<TopicName>)> =
            entries.iter().map(|entry| (entry.topic.clone(), dead_letters(entry))).collect();
        topics::provide(&self.client, &wanted, create_topics).await?;

        let (stopping, _) = watch::channel(false);
        let publisher = match self.publisher {
            Some(publisher) => publisher,
            None => Publisher::start(&self.client)?,
        };
        let target = |entry: Entry| {
            let dead_letters = dead_letters(&entry);
            let (newer, stopping) = (entry.plan.newer, stopping.subscribe());
            let place = Arc::new(Place::new(self.group.clone(), entry.handler(), newer, stopping));
            let Entry { topic, endpoint, plan } = entry;
            (
                topic,
                Arc::new(Target { endpoint, plan, place, dead_letters, meters: HandlerMeters::default() }),
            )
        };
        let routes: HashMap<TopicName, Arc<Target>> = entries.into_iter().map(target).collect();
        let lanes = Lanes::new(limits);
        let shared = Arc::new(Shared::new(self.group, lanes, routes, publisher, stopping));
        let consumer = (self.configure)(self.client.consumer(shared.group.clone()))
            .topics(shared.routes.keys().cloned())
            .commit(Commit::Acknowledged(commit_interval))
            .drain_timeout(drain_timeout)
            .on_rebalance(Listener(Arc::clone(&shared)))
            .build()?;
        let consumer = Arc::new(consumer);
        // It cannot have been set: nobody else has it yet.
        let _first = shared.consumer.set(Arc::clone(&consumer));
        shared.standing().is_alive = true;
        let life = Life {
            intake: Intake::new(Arc::clone(&shared), drain_timeout),
            tasks: Tasks::start(self.tasks, &shared),
            shared: Arc::clone(&shared),
            drain_timeout,
        };
        let task = spawn(life.run(consumer));
        let health = Health::new(Arc::clone(&shared), self.checks);
        Ok(Running::new(self.client, shared, health, task))
    }

    /// Starts the service, and runs it until the process is told to stop: by SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and [`Running::ended`].
    pub async fn run(self) -> Result<(), ServiceError> {
        self.run_until(told_to_stop()).await
    }

    /// Starts the service, and runs it until `stop` is done, or the service has failed.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and [`Running::ended`].
    ///
    /// # Cancel safety
    /// Dropped, the service stops as by [`Running::stop`], on its own.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<(), ServiceError> {
        let mut running = self.start().await?;
        tokio::select! {
            () = stop => running.stop().await,
            ended = running.ended() => ended,
        }
    }
}

/// What runs from start to stop.
struct Life {
    intake: Intake,
    tasks: Tasks,
    shared: Arc<Shared>,
    drain_timeout: Duration,
}

impl Life {
    async fn run(self, consumer: Arc<Consumer>) -> Result<(), ServiceError> {
        let ended = self.intake.run(&consumer).await;
        self.tasks.stop(self.drain_timeout).await;
        let flushed = self.shared.publisher.flush().await;
        self.shared.standing().is_alive = false;
        ended.and_then(|()| flushed.map_err(ServiceError::Client))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where the service's driver is built")]
fn spawn(
    life: impl Future<Output = Result<(), ServiceError>> + Send + 'static,
) -> JoinHandle<Result<(), ServiceError>> {
    tokio::spawn(life)
}

fn check_setup(group: &str, entries: &[Entry]) -> Result<(), ServiceError> {
    let mut problems = Vec::new();
    if group.is_empty() {
        problems.push("the group has no name".to_owned());
    }
    if entries.is_empty() {
        problems.push("the router has no topic".to_owned());
    }
    let mut seen = BTreeSet::new();
    for entry in entries {
        if !seen.insert(&entry.topic) {
            problems.push(format!("the router names the topic {:?} twice", entry.topic));
        }
        if matches!(&entry.plan.dead_letters, DeadLetters::To(topic) if *topic == entry.topic) {
            problems.push(format!("{:?} is its own dead-letter topic", entry.topic));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ServiceError::Setup { problems }) }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("group", &self.group)
            .field("router", &self.router)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
