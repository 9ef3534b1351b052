//! An orders service: what fails for a while is tried again, what fails for good becomes a dead letter, and when its
//! cause is mended, the dead letters go back and are handled.
//!
//! ```text
//! cargo run -p milena-service --example orders
//! ```
//!
//! Without `MILENA_BOOTSTRAP` (`host:port,host:port`) an embedded cluster is started. `RUST_LOG=milena_service=warn` shows
//! each try that fails.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that reports to a person, in its own time"
)]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use milena::{
    Client, Config, Isolation, Message, NewTopic, OffsetSpec, Position, TopicPartition, testing::Cluster,
};
use milena_service::{
    BoxError, DeadLetter, Ev, Event, HandlerError, IntoRoute, Outgoing, Publisher, Redrive, RedriveReport,
    Retry, Router, Running, Service, State, Topic,
};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

const ORDERS: u64 = 400;
const CUSTOMERS: u64 = 16;
const BROKEN: u64 = 4;
const PARTITIONS: u32 = 4;
const GROUP: &str = "billing";
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize, Event)]
#[event(type = "order.placed", source = "/shop", key = customer)]
struct OrderPlaced {
    number: u64,
    customer: String,
    amount: u64,
    currency: String,
}

/// The handler. What `?` passes on is tried again; what it calls a dead letter itself, is not.
async fn charge(State(bank): State<Bank>, Ev(order): Ev<OrderPlaced>) -> Result<(), HandlerError> {
    bank.call(&order);
    if order.amount > bank.limit() {
        return Err(
            HandlerError::dead_letter(format!("{} is over the limit", order.amount)).kind("OverLimit")
        );
    }
    bank.convert(&order)?;
    bank.transfer(&order)?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let cluster = match env::var("MILENA_BOOTSTRAP") {
        Ok(_) => None,
        Err(_) => Some(Cluster::builder().start().await?),
    };
    let bootstrap = match &cluster {
        Some(cluster) => cluster.bootstrap(),
        None => env::var("MILENA_BOOTSTRAP")?.split(',').map(str::to_owned).collect(),
    };
    let client = Client::connect(Config::new(&bootstrap).client_id("orders")).await?;
    // Of this run alone, on a cluster that others have used.
    let orders = Topic::from(format!("orders-{}", std::process::id()));
    let topic = NewTopic::new(&orders).partitions(PARTITIONS);
    for created in client.admin().create_topics([topic]).await?.into_values() {
        created?;
    }
    place(&client, &orders).await?;

    let bank = Bank::default();
    let route = charge
        .retry(Retry::times(2).backoff(Duration::from_millis(20), 5, Duration::from_millis(100)))
        .dead_letter();
    let router = Router::new().topic(&orders, route).with_state(bank.clone());
    let running = Service::new(&client, GROUP).router(router).start().await?;
    settled(&running).await?;

    let dead_letters = format!("{}.{GROUP}.dlq", orders.name());
    let letters = read(&client, &dead_letters).await?;
    println!("{ORDERS} orders of {CUSTOMERS} customers, and {BROKEN} records that are none:\n");
    report(&bank, &letters, false)?;
    bank.check_order("the orders of each customer were charged in their order")?;
    show(&dead_letters, &letters);

    bank.mend();
    println!("\nThe bank has the rate now, and a higher limit. What cannot be read stays where it is.");
    let redrive = Redrive::new(&client, &*dead_letters).filter(|letter| letter.error_type != "data");
    tell("a dry run:", &redrive.dry_run().await?)?;
    tell("a redrive:", &redrive.run().await?)?;
    settled(&running).await?;
    println!();
    report(&bank, &read(&client, &dead_letters).await?, true)?;
    bank.check_order("so were those that came back")?;
    if !running.health().is_ready() {
        return Err(format!("the service is not ready: {:?}", running.health().problems()).into());
    }

    running.stop().await?;
    client.admin().delete_topics([orders.name(), &dead_letters]).await?;
    client.close();
    if let Some(cluster) = cluster {
        cluster.shutdown().await;
    }
    Ok(())
}

/// Places all orders, and what is none between them.
async fn place(client: &Client, topic: &Topic<OrderPlaced>) -> Result<(), BoxError> {
    let publisher = Publisher::start(client)?;
    let mut records = Vec::new();
    for number in 0..ORDERS {
        let kind = Kind::of(number);
        let order = OrderPlaced {
            number,
            customer: format!("customer-{:02}", number % CUSTOMERS),
            amount: if kind == Kind::Large { 25_000 } else { 10 + number },
            currency: if kind == Kind::Foreign { "XTS" } else { "EUR" }.to_owned(),
        };
        records.push(topic.outgoing(&order)?);
        if number % (ORDERS / BROKEN) == 0 {
            records.push(Outgoing::new(topic, "{broken").key(order.customer));
        }
    }
    publisher.send_all(&records).await?;
    publisher.stop().await?;
    Ok(())
}

/// What is the matter with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Good,
    /// The bank is busy when it is charged first and second.
    Unlucky,
    /// Of a currency for which the bank has no rate, until that is mended.
    Foreign,
    /// Over the limit, until that is raised.
    Large,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Good, Self::Unlucky, Self::Foreign, Self::Large];

    fn of(number: u64) -> Self {
        match number {
            number if number % 10 == 3 => Self::Unlucky,
            number if number % 18 == 5 => Self::Foreign,
            number if number % 25 == 7 => Self::Large,
            _ => Self::Good,
        }
    }

    /// What is said of it; how often it is tried before it is mended, and the kind of its dead letters.
    fn expected(self) -> (&'static str, usize, &'static str) {
        match self {
            Self::Good => ("nothing is wrong with", 1, ""),
            Self::Unlucky => ("the bank is too busy for, twice", 3, ""),
            Self::Foreign => ("the bank has no rate for", 3, "NoRate"),
            Self::Large => ("are over the limit", 1, "OverLimit"),
        }
    }
}

/// A bank that does not always do what it is asked for, and writes everything down.
#[derive(Clone, Default)]
struct Bank(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    is_mended: bool,
    /// How often each order was to be charged.
    calls: BTreeMap<u64, usize>,
    /// The customers and their orders, as they were charged.
    charged: Vec<(String, u64)>,
    /// How many of these were charged before it was mended.
    before: usize,
}

#[derive(Debug)]
struct NoRate(String);

#[derive(Debug)]
struct Busy;

impl Bank {
    fn call(&self, order: &OrderPlaced) {
        *self.books().calls.entry(order.number).or_default() += 1;
    }

    fn limit(&self) -> u64 {
        if self.books().is_mended { 100_000 } else { 10_000 }
    }

    fn convert(&self, order: &OrderPlaced) -> Result<(), NoRate> {
        match &*order.currency {
            "EUR" => Ok(()),
            _ if self.books().is_mended => Ok(()),
            other => Err(NoRate(other.to_owned())),
        }
    }

    fn transfer(&self, order: &OrderPlaced) -> Result<(), Busy> {
        let mut books = self.books();
        if Kind::of(order.number) == Kind::Unlucky && books.calls.get(&order.number).is_some_and(|n| *n < 3) {
            return Err(Busy);
        }
        books.charged.push((order.customer.clone(), order.number));
        Ok(())
    }

    fn mend(&self) {
        let mut books = self.books();
        books.is_mended = true;
        books.before = books.charged.len();
    }

    /// Checks the order of the orders of each customer, of those that were charged since it was mended.
    fn check_order(&self, what: &str) -> Result<(), BoxError> {
        let books = self.books();
        let mut last = BTreeMap::new();
        for (customer, number) in books.charged.iter().skip(books.before) {
            if let Some(before) = last.insert(customer, number).filter(|before| *before >= number) {
                return Err(format!("{customer}: {number} was charged behind {before}").into());
            }
        }
        println!("Checked: {what}.");
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for NoRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no rate for {}", self.0)
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bank is busy")
    }
}

impl Error for NoRate {}
impl Error for Busy {}

async fn settled(running: &Running) -> Result<(), BoxError> {
    let settled = tokio::time::timeout(PATIENCE, running.settled()).await;
    settled.map_err(|_| format!("not everything was handled: {:?}", running.health().problems()).into())
}

/// Reads all dead letters that there are.
async fn read(client: &Client, topic: &str) -> Result<Vec<(Message, DeadLetter)>, BoxError> {
    let partitions = (0..).take(PARTITIONS as usize).map(|number| TopicPartition::new(topic, number));
    let ends = partitions.map(|partition| (partition, OffsetSpec::Latest));
    let mut left = 0;
    for end in client.admin().list_offsets(ends, Isolation::ReadUncommitted).await?.into_values() {
        left += end?.map_or(0, |end| end.offset.0);
    }
    let reader = client.reader().topics([topic]).start_at(Position::Earliest).build()?;
    let mut letters = Vec::new();
    while left > 0 {
        let next = tokio::time::timeout(PATIENCE, reader.next()).await;
        let message =
            next.map_err(|_| format!("{left} dead letters do not come"))?.ok_or("it was closed")??;
        let letter = DeadLetter::of(&message).ok_or("a dead letter does not say where it comes from")?;
        letters.push((message, letter));
        left -= 1;
    }
    reader.close().await?;
    Ok(letters)
}

/// Prints what became of the orders, and fails if it is not what should have.
fn report(bank: &Bank, letters: &[(Message, DeadLetter)], is_mended: bool) -> Result<(), BoxError> {
    println!("{:>7} {:>7} {:>8} {:>13}", "orders", "tries", "charged", "dead letters");
    let books = bank.books();
    let of_kind = |kind: &str| letters.iter().filter(|(_, letter)| letter.error_type == kind).count();
    let mut charged_in_all = 0;
    for kind in Kind::ALL {
        let orders = (0..ORDERS).filter(|number| Kind::of(*number) == kind).count();
        let tries: usize =
            books.calls.iter().filter(|(number, _)| Kind::of(**number) == kind).map(|(_, tries)| tries).sum();
        let charged = books.charged.iter().filter(|(_, number)| Kind::of(*number) == kind).count();
        let (what, each, error_type) = kind.expected();
        let dead = if error_type.is_empty() { 0 } else { of_kind(error_type) };
        println!("{orders:>7} {tries:>7} {charged:>8} {dead:>13}   {what}");

        let fails = !error_type.is_empty();
        let expected = match (fails, is_mended) {
            (false, _) => (orders * each, orders, 0),
            (true, false) => (orders * each, 0, orders),
            // One try more has done it. The letters of before are still there to be read.
            (true, true) => (orders * each + orders, orders, orders),
        };
        check(what, &(tries, charged, dead), &expected)?;
        charged_in_all += charged;
    }
    let broken = of_kind("data");
    println!("{BROKEN:>7} {:>7} {:>8} {broken:>13}   are none: they cannot be read", 0, 0);
    check("what cannot be read", &broken, &(BROKEN as usize))?;
    check(
        "the dead letters that were read",
        &letters.len(),
        &(of_kind("NoRate") + of_kind("OverLimit") + broken),
    )?;
    if is_mended {
        check("the orders that were charged, once each", &charged_in_all, &(ORDERS as usize))?;
    }
    Ok(())
}

/// Prints the first dead letter of each kind.
fn show(topic: &str, letters: &[(Message, DeadLetter)]) {
    println!("\n{topic} has {} dead letters; the first of each kind:\n", letters.len());
    let mut first = BTreeMap::new();
    for (message, letter) in letters {
        first.entry(&letter.error_type).or_insert((message, letter));
    }
    for (message, letter) in first.into_values() {
        let DeadLetter { topic, partition, offset, group, handler, error_type, error_message, .. } = letter;
        let key = String::from_utf8_lossy(message.key().unwrap_or_default());
        println!("  {error_type}: {error_message}");
        if !letter.error_chain.is_empty() {
            println!("    because      {}", letter.error_chain);
        }
        println!("    comes from   {topic}-{partition} at {offset}, written {}", ago(letter.timestamp));
        println!("    for          {key}");
        println!("    failed in    {handler} of {group}, after {} tries\n", letter.attempts);
    }
}

fn ago(timestamp: i64) -> String {
    let written =
        SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(timestamp).unwrap_or_default());
    format!("{:.0?} ago", SystemTime::now().duration_since(written).unwrap_or_default())
}

/// Prints what a redrive has done, and fails if it is not what it should have.
fn tell(what: &str, report: &RedriveReport) -> Result<(), BoxError> {
    println!("  {what:<11} {}", report.to_string().replace('\n', "\n             "));
    let failing = |number: &u64| matches!(Kind::of(*number), Kind::Foreign | Kind::Large);
    let failing = (0..ORDERS).filter(failing).count() as u64;
    check(what, &(report.redriven, report.filtered), &(failing, BROKEN))
}

fn check<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), BoxError> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}").into()) }
}
