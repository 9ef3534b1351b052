//! One connection: two directions, and how they end.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::Arc,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    Shared,
    answers::{self, Expected},
    pipe::{End, pipe},
    requests::Requests,
};

/// Takes connections for a node; dropped, it ends them all.
pub(super) async fn listen(listener: TcpListener, node: i32, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&shared.open).acquire_owned().await else { return };
        // Who has gone before it was accepted is no reason to stop.
        let Ok((client, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            relay(client, node, &shared).await;
            drop(permit);
        });
    }
}

async fn relay(mut client: TcpStream, node: i32, shared: &Shared) {
    let connection = shared.next_connection();
    let Some(address) = shared.upstream(node) else { return };
    let Ok(mut broker) = TcpStream::connect(&address).await else { return };
    // Small frames must not wait for acknowledgements; without it they only come later.
    let _ = client.set_nodelay(true).and_then(|()| broker.set_nodelay(true));
    let expected = Expected::default();
    let end = {
        let (from_client, client_output) = client.split();
        let (from_broker, broker_output) = broker.split();
        let ((to_broker, requests), (to_client, answers)) = (pipe(), pipe());
        let reader = Requests { shared, node, connection, to_broker, expected: &expected };
        let outbound = until_written(reader.read_from(from_client), requests.write_to(broker_output));
        let inbound = until_written(
            answers::read_from(from_broker, to_client, &expected),
            answers.write_to(client_output),
        );
        tokio::select! {
            end = outbound => end,
            end = inbound => end,
        }
    };
    match end {
        End::Close => {}
        // The broker may still read what it was sent; only the client is told.
        End::Reset => drop(client.set_zero_linger()),
        // Until the proxy ends.
        End::Stall => pending().await,
    }
}

/// Runs both, until everything that was read is written or the writer has come to an end before.
async fn until_written(reader: impl Future<Output = ()>, writer: impl Future<Output = End>) -> End {
    let mut writer = pin!(writer);
    tokio::select! {
        end = &mut writer => end,
        () = reader => writer.await,
    }
}
