//! The first program of the README, line by line, and that it is short enough to be somebody's first one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it is what a newcomer writes")]

use milena::{Client, Config};
use milena_service::{HandlerError, IntoRoute, Json, Router, Service, ServiceError};

#[derive(serde::Deserialize)]
struct Order {
    amount: u64,
}

async fn charge(Json(order): Json<Order>) -> Result<(), HandlerError> {
    if order.amount == 0 {
        return Err(HandlerError::dead_letter("an order over nothing"));
    }
    println!("charged {}", order.amount);
    Ok(())
}

fn billing(client: &Client) -> Service {
    Service::new(client, "billing").router(Router::new().topic("orders", charge.dead_letter()))
}

#[tokio::main]
async fn main() -> Result<(), ServiceError> {
    billing(&Client::connect(Config::new(["localhost:9092"])).await?).run().await
}

#[tokio::test]
async fn an_order_over_nothing_becomes_a_dead_letter() {
    use milena::{Record, testing::Cluster};
    let cluster = Cluster::builder().topic("orders", 1).start().await.unwrap();
    let client = Client::connect(Config::new(cluster.bootstrap())).await.unwrap();
    let _running = billing(&client).start().await.unwrap();
    client.producer().build().unwrap().send(Record::new("orders", r#"{"amount":0}"#)).await.unwrap();

    let dead_letters = client.reader().topics(["orders.billing.dlq"]).build().unwrap();
    let record = dead_letters.next().await.unwrap().unwrap();
    let letter = milena_service::DeadLetter::of(&record).unwrap();
    assert_eq!(letter.error_message, "an order over nothing");
}

#[test]
fn the_readme_has_this_program_in_at_most_40_lines() {
    let readme = include_str!("../README.md");
    let program = readme.split("```rust,no_run\n").find(|block| block.contains("fn main()")).unwrap();
    let program = program.split("```").next().unwrap();
    assert!(include_str!("newcomer.rs").contains(&format!("\n\n{program}\n")), "it is another:\n{program}");
    assert!(program.contains("#[tokio::test]") && program.contains(".dead_letter()"), "{program}");
    assert!(program.lines().count() <= 40, "{} lines", program.lines().count());
}
