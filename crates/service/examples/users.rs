//! A users service: HTTP publishes events, a read model answers from them, and a handler welcomes who is new.
//!
//! ```text
//! POST /users ── UserCreated ──> example.users ──┬──> Table ──> GET /users, GET /users/{id}
//!                                                └──> welcome ── WelcomeQueued ──> example.welcomes
//! ```
//!
//! ```text
//! cargo run -p milena-service --example users              # shows itself, then serves until Ctrl-C
//! cargo run -p milena-service --example users -- --demo    # shows itself, and ends
//! ```
//!
//! Without `MILENA_BOOTSTRAP` (`host:port,host:port`) an embedded cluster is started. `LISTEN` (`127.0.0.1:8080`) says
//! where HTTP is served; the default is a free port. `RUST_LOG=milena_service=info` shows what the service does.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that reports to a person, in its own time"
)]

use std::{collections::BTreeSet, env, net::SocketAddr, time::Duration};

use axum::{
    Json, Router as Http,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use milena::{Client, Code, Config, NewTopic, Position, testing::Cluster};
use milena_service::{
    BoxError, Emit, Envelope, Ev, Event, HandlerError, IntoRoute, Publisher, Router, Service, Table, Topic,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use uuid::Uuid;

const USERS: Topic<UserCreated> = Topic::new("example.users");
const WELCOMES: Topic<WelcomeQueued> = Topic::new("example.welcomes");

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Version 1 had no locale.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event(type = "user.created", version = 2, source = "/users", key = id, upcast(1 => with_locale))]
struct UserCreated {
    id: String,
    name: String,
    email: String,
    locale: String,
}

fn with_locale(mut user: Value) -> Value {
    if let Some(fields) = user.as_object_mut() {
        fields.insert("locale".to_owned(), "en".into());
    }
    user
}

#[derive(Serialize, Deserialize, Event)]
#[event(type = "welcome.queued", source = "/welcomes", key = user_id)]
struct WelcomeQueued {
    user_id: String,
    to: String,
    text: String,
}

/// What HTTP let through may still be nothing that can be welcomed. That is not passed by in silence: it goes to
/// `example.users.welcome.dlq`, with the reason.
async fn welcome(Ev(user): Ev<UserCreated>) -> Result<Emit<WelcomeQueued>, HandlerError> {
    if !user.email.contains('@') {
        return Err(HandlerError::dead_letter(format!("{:?} is no address", user.email)).kind("address"));
    }
    let greeting = if user.locale.starts_with("de") { "Willkommen" } else { "Welcome" };
    let text = format!("{greeting}, {}!", user.name);
    Ok(Emit(WELCOMES, WelcomeQueued { user_id: user.id, to: user.email, text }))
}

#[derive(Clone)]
struct App {
    publisher: Publisher,
    users: Table<String, UserCreated>,
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
    email: String,
    locale: String,
}

/// It answers when the read model shows the user: who was answered, reads what was written.
async fn create(State(app): State<App>, Json(new): Json<NewUser>) -> Result<impl IntoResponse, Unavailable> {
    let NewUser { name, email, locale } = new;
    let id = Uuid::now_v7().to_string();
    let published =
        app.publisher.publish(&USERS, &UserCreated { id: id.clone(), name, email, locale }).await?;
    let position = published.position().ok_or("no broker said where it wrote the user")?;
    app.users.wait_for(&position, PATIENCE).await?;
    let location = [(header::LOCATION, format!("/users/{id}"))];
    Ok((StatusCode::CREATED, location, Json(json!({ "id": id, "position": position.to_string() }))))
}

async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<UserCreated>, StatusCode> {
    app.users.get(&id).map(|user| Json((*user).clone())).ok_or(StatusCode::NOT_FOUND)
}

async fn all(State(app): State<App>) -> Json<Vec<UserCreated>> {
    Json(app.users.range(.., 100).into_iter().map(|(_, user)| (*user).clone()).collect())
}

/// What could not be done, and may be asked for again.
struct Unavailable(BoxError);

impl<E: Into<BoxError>> From<E> for Unavailable {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", self.0)).into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let goes_on = match env::args().nth(1).as_deref() {
        None => true,
        Some("--demo") => false,
        Some(other) => return Err(format!("{other:?} is unknown; there is `--demo`").into()),
    };
    let cluster = match env::var("MILENA_BOOTSTRAP") {
        Ok(_) => None,
        Err(_) => Some(Cluster::builder().start().await?),
    };
    let bootstrap = match &cluster {
        Some(cluster) => cluster.bootstrap(),
        None => env::var("MILENA_BOOTSTRAP")?.split(',').map(str::to_owned).collect(),
    };
    let client = Client::connect(Config::new(&bootstrap).client_id("users")).await?;
    create_topics(&client).await?;

    let publisher = Publisher::start(&client)?;
    let users = Table::of_events(&client, USERS).start().await?;
    let app = App { publisher: publisher.clone(), users: users.clone() };
    let http = Http::new().route("/users", get(all).post(create)).route("/users/{id}", get(one));
    let http = http.with_state(app.clone());
    let listener = TcpListener::bind(env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:0")).await?;
    let demo = Demo { at: listener.local_addr()?, client: client.clone(), app: app.clone() };
    let service = Service::new(&client, "welcome")
        .router(Router::new().topic(USERS, welcome.dead_letter()))
        .publisher(publisher.clone())
        .table(&users);

    let (end, ended) = oneshot::channel::<()>();
    let shown = async {
        demo.run().await?;
        if goes_on {
            demo.invite();
        } else {
            drop(end);
        }
        Ok(())
    };
    let served = async {
        match goes_on {
            true => service.run_with_axum(listener, http).await?,
            false => service.run_with_axum_until(listener, http, async { drop(ended.await) }).await?,
        }
        Ok::<_, BoxError>(())
    };
    // If one of them fails, the other is dropped.
    tokio::try_join!(served, shown)?;

    println!("\nHTTP and the handler have ended, and so does the rest.");
    publisher.stop().await?;
    client.close();
    if let Some(cluster) = cluster {
        cluster.shutdown().await;
    }
    Ok(())
}

async fn create_topics(client: &Client) -> Result<(), BoxError> {
    // Of each user the newest event is kept, for ever.
    let users = NewTopic::new(USERS).partitions(3).config("cleanup.policy", "compact");
    let welcomes = NewTopic::new(WELCOMES).partitions(3);
    for created in client.admin().create_topics([users, welcomes]).await?.into_values() {
        match created {
            Err(error) if error.code() == Some(Code::TOPIC_ALREADY_EXISTS) => {}
            created => drop(created?),
        }
    }
    Ok(())
}

/// Uses the service as others would, over HTTP, and fails if it does not answer as it should.
struct Demo {
    at: SocketAddr,
    client: Client,
    app: App,
}

/// The event as services write it that know nothing of locales yet.
#[derive(Serialize, Deserialize, Event)]
#[event(type = "user.created", source = "/users", key = id)]
struct OldUserCreated {
    id: String,
    name: String,
    email: String,
}

impl Demo {
    async fn run(&self) -> Result<(), BoxError> {
        println!("The users service serves http://{}\n", self.at);
        self.until(200, "/readyz", |_| true).await?;

        let people = [("Ada", "ada@example.org", "en"), ("Konrad", "konrad@example.org", "de")];
        let mut ids = BTreeSet::new();
        for (name, email, locale) in people {
            ids.insert(self.create(json!({ "name": name, "email": email, "locale": locale })).await?);
        }
        println!("\nA service that knows nothing of locales yet publishes version 1 of the event:");
        let (id, name, email) =
            (Uuid::now_v7().to_string(), "Grace".to_owned(), "grace@example.org".to_owned());
        let topic = Topic::from(USERS.name().to_owned());
        let old = OldUserCreated { id: id.clone(), name, email };
        let published = self.app.publisher.publish(&topic, &old).await?;
        self.app.users.wait_for(published.position().ok_or("no position")?, PATIENCE).await?;
        let grace = self.expect(200, "GET", &format!("/users/{id}"), None).await?;
        check(
            "the locale of an older event",
            &serde_json::from_str::<Value>(&grace)?["locale"],
            &json!("en"),
        )?;
        ids.insert(id);

        println!("\nThe handler has queued:");
        self.welcomes(ids).await?;

        println!("\nWhat cannot be:");
        self.expect(422, "POST", "/users", Some(&json!({ "name": "nobody" }))).await?;
        self.expect(404, "GET", "/users/nobody", None).await?;
        self.create(json!({ "name": "Nobody", "email": "nowhere", "locale": "en" })).await?;
        let is_dead = |page: &str| page.contains("milena_dead_letters_total{");
        let page = self.until(200, "/metrics", is_dead).await?;
        let told =
            ["milena_handler_outcomes", "milena_dead_letters", "milena_end_to_end_latency_seconds_count"];
        let told = |line: &&str| told.iter().any(|name| line.starts_with(name));
        page.lines().filter(told).for_each(|line| println!("    {line}"));
        Ok(())
    }

    /// Creates a user, who must be there at once, and tells the id.
    async fn create(&self, user: Value) -> Result<String, BoxError> {
        let created: Value = serde_json::from_str(&self.expect(201, "POST", "/users", Some(&user)).await?)?;
        let id = created["id"].as_str().ok_or("the answer has no id")?.to_owned();
        let read: Value =
            serde_json::from_str(&self.expect(200, "GET", &format!("/users/{id}"), None).await?)?;
        check("the name that is read", &read["name"], &user["name"])?;
        Ok(id)
    }

    /// Shows what was queued for these users.
    async fn welcomes(&self, mut users: BTreeSet<String>) -> Result<(), BoxError> {
        let reader = self.client.reader().topics([WELCOMES]).start_at(Position::Earliest).build()?;
        while !users.is_empty() {
            let next = tokio::time::timeout(PATIENCE, reader.next()).await;
            let message =
                next.map_err(|_| format!("nobody has welcomed {users:?}"))?.ok_or("it was closed")??;
            // On a cluster that others have used, there are more.
            let Some(welcome) = WELCOMES.read(&message)?.filter(|welcome| users.remove(&welcome.user_id))
            else {
                continue;
            };
            let cause = Envelope::read(&message)?.and_then(|envelope| envelope.causation_id);
            let cause = cause.ok_or("it does not say what caused it")?;
            println!("    {:?} to {}, caused by the event {cause}", welcome.text, welcome.to);
        }
        reader.close().await?;
        Ok(())
    }

    /// Asks until the answer is as it should be.
    async fn until(&self, status: u16, path: &str, is_it: impl Fn(&str) -> bool) -> Result<String, BoxError> {
        let mut last = (0, String::new());
        let asked = async {
            loop {
                let answer = ask(self.at, "GET", path, None).await?;
                if answer.0 != last.0 {
                    show("GET", path, None, &answer);
                }
                last = answer;
                if last.0 == status && is_it(&last.1) {
                    return Ok::<_, BoxError>(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(asked) => asked.map(|()| last.1),
            Err(_) => Err(format!("{path} still answers {} {}", last.0, last.1).into()),
        }
    }

    async fn expect(
        &self,
        status: u16,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, BoxError> {
        let answer = ask(self.at, method, path, body).await?;
        show(method, path, body, &answer);
        check(path, &answer.0, &status)?;
        Ok(answer.1)
    }

    fn invite(&self) {
        let at = self.at;
        let user = r#"{"name":"Joan","email":"joan@example.org","locale":"en"}"#;
        println!("\nTry it, and end it by Ctrl-C:");
        println!("    curl -i http://{at}/users -H 'content-type: application/json' -d '{user}'");
        ["users", "readyz", "metrics"].iter().for_each(|path| println!("    curl http://{at}/{path}"));
    }
}

fn show(method: &str, path: &str, body: Option<&Value>, (status, answer): &(u16, String)) {
    let body = body.map(|body| format!(" {body}")).unwrap_or_default();
    // Of a page of metrics, what is worth it is shown elsewhere.
    let answer = if path == "/metrics" { "" } else { answer };
    println!("{method} {path}{body}");
    println!("    {}", format!("{status} {}", answer.trim_end().replace('\n', "\n        ")).trim_end());
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), BoxError> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}").into()) }
}

/// Asks over HTTP, and tells the status and the body.
async fn ask(
    at: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, String), BoxError> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("it is no answer of HTTP")?;
        let status = head.split(' ').nth(1).ok_or("it has no status")?.parse()?;
        Ok::<_, BoxError>((status, body.to_owned()))
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| format!("{path} has not answered"))?
}
