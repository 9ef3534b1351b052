//! What listens where a broker should, over real sockets.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use milena::{Client, Config, Error, ErrorKind, Record, testing::Cluster};

use crate::support::SECOND;

/// A server that does the same with each connection.
fn serve(what: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().for_each(|stream| what(stream.unwrap())));
    address
}

/// One that speaks first, or answers the first bytes.
fn speaker(waits: bool, bytes: &'static [u8]) -> String {
    serve(move |mut stream| {
        if waits {
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = stream.write_all(bytes);
        // It stays open until the other side has had enough.
        let _ = stream.read(&mut [0; 1024]);
    })
}

fn unused() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn refused(addresses: &[&str], patience: Duration) -> Error {
    Client::connect(Config::new(addresses.iter().copied()).bootstrap_timeout(patience)).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_broker_is_named_with_its_address() {
    let cases: [(&str, bool, &[u8]); 4] = [
        ("SSH", false, b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("HTTP", true, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
        // A fatal alert: what a TLS listener says to plain text.
        ("TLS", true, &[0x15, 3, 3, 0, 2, 2, 10]),
        ("TLS", true, &[0x15, 3, 1, 0, 2, 2, 70]),
    ];
    for (expected, waits, bytes) in cases {
        let address = speaker(waits, bytes);
        let error = refused(&[&address], 30 * SECOND).await;
        let ErrorKind::NotKafka { peer, looks_like, .. } = error.kind() else { panic!("{error}") };
        assert_eq!((peer, *looks_like), (&address, expected));
    }
}

#[tokio::test]
async fn lengths_that_cannot_be_are_refused_with_value_limit_and_setting() {
    let lengths: [(&[u8], i64); 4] = [
        (&[0x7f, 0xff, 0xff, 0xff, 0, 0], 0x7fff_ffff),
        (&[0xff, 0xff, 0xff, 0xff, 0, 0], -1),
        (&[0, 0, 0, 0], 0),
        (&[0, 0, 0, 3, 1, 2, 3], 3),
    ];
    for (bytes, expected) in lengths {
        let address = speaker(true, bytes);
        let error = refused(&[&address], 30 * SECOND).await;
        let ErrorKind::FrameSize { peer, length, limit, setting: "receive_message_max_bytes", .. } =
            error.kind()
        else {
            panic!("{error}")
        };
        assert_eq!((peer, *length, *limit), (&address, expected, 100 << 20));
    }
}

#[tokio::test]
async fn every_address_is_told_with_its_reason_when_none_leads_to_a_broker() {
    let silent = serve(|mut stream| while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {});
    let (closed, closing) = (unused(), serve(drop));
    let addresses = [&*closed, &*closing, &*silent, "no.such.host.invalid:9092"];
    let error = refused(&addresses, 2 * SECOND).await;
    let ErrorKind::Unreachable { attempts, waited, setting: "bootstrap_timeout", .. } = error.kind() else {
        panic!("{error}")
    };
    assert!(*waited >= 2 * SECOND && error.is_retriable());
    let reason = |address: &str| {
        let attempt = attempts.iter().find(|attempt| attempt.address == address);
        &attempt.unwrap_or_else(|| panic!("{address} is not told: {attempts:?}")).reason
    };
    assert_eq!(attempts.len(), addresses.len(), "{attempts:?}");
    assert!(reason(&closed).contains("refused"), "{attempts:?}");
    assert!(reason("no.such.host.invalid:9092").contains("resolving"), "{attempts:?}");
    // These may be told as what they do, or as not having answered yet.
    assert!(!reason(&closing).is_empty() && !reason(&silent).is_empty(), "{attempts:?}");
}

#[tokio::test]
async fn one_broker_among_strangers_is_enough_and_names_are_resolved() {
    let cluster = Cluster::builder().topic("t", 1).start().await.unwrap();
    let port = cluster.bootstrap()[0].rsplit_once(':').unwrap().1.to_owned();
    let broker = format!("localhost:{port}");
    let (closed, http) = (unused(), speaker(true, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    for addresses in [vec![&closed, &http, &broker], vec![&broker, &closed], vec![&broker]] {
        let client = Client::connect(Config::new(addresses)).await.unwrap();
        client.producer().build().unwrap().send(Record::new("t", "x")).await.unwrap();
    }
    assert_eq!(cluster.log_end_offset("t", 0).await.unwrap(), Some(3));
    cluster.shutdown().await;
}
