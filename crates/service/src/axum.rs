//! HTTP beside a service: feature `axum`.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::service::{Health, Report, Running, Service, ServiceError};

/// What Prometheus wants a page of metrics to be.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/livez`, `/readyz` and `/metrics` of a service that runs, to be merged into a router.
///
/// `/livez` and `/readyz` answer 200 or 503; `/readyz` lists why the service is not ready, a line each.
///
/// ```no_run
/// # async fn example(running: milena_service::Running, api: axum::Router) -> std::io::Result<()> {
/// let app = api.merge(milena_service::axum::ops(&running));
/// axum::serve(tokio::net::TcpListener::bind("0.0.0.0:8080").await?, app).await
/// # }
/// ```
pub fn ops(running: &Running) -> Router {
    let state = Arc::new((running.health(), running.report()));
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

type Ops = State<Arc<(Health, Report)>>;

async fn live(State(state): Ops) -> impl IntoResponse {
    if state.0.is_live() {
        (StatusCode::OK, "live\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not live\n")
    }
}

async fn ready(State(state): Ops) -> impl IntoResponse {
    let problems = state.0.problems();
    if problems.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, problems.into_iter().map(|problem| problem + "\n").collect())
}

async fn metrics(State(state): Ops) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, PROMETHEUS)], state.1.page())
}

impl Service {
    /// Runs the service and serves `app`, with [`ops`] beside it, until the process is told to stop by SIGTERM or Ctrl-C,
    /// or the service fails. Then all stops in order: the service is no longer ready, HTTP takes no new connection and
    /// ends what it answers, the service ends what it handles, commits, publishes the rest, and leaves its group.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and [`Running::ended`]; [`ServiceError::Http`] if serving fails.
    pub async fn run_with_axum(self, listener: TcpListener, app: Router) -> Result<(), ServiceError> {
        self.run_with_axum_until(listener, app, crate::service::told_to_stop()).await
    }

    /// As [`run_with_axum`](Self::run_with_axum), until `stop` is done.
    ///
    /// # Errors
    /// As [`run_with_axum`](Self::run_with_axum).
    ///
    /// # Cancel safety
    /// Dropped, HTTP ends at once, and the service stops on its own.
    pub async fn run_with_axum_until(
        self,
        listener: TcpListener,
        app: Router,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), ServiceError> {
        let drain_timeout = self.drain_timeout_setting();
        let mut running = self.start().await?;
        let app = app.merge(ops(&running));
        let (ends, mut ended) = watch::channel(false);
        let told = async move {
            // An error says that the sender is gone.
            let _gone = ended.wait_for(|ends| *ends).await;
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(told);
        let mut serving = std::pin::pin!(serving.into_future());
        let failed = tokio::select! {
            () = stop => None,
            failed = running.ended() => Some(failed),
            served = &mut serving => Some(served.map_err(ServiceError::Http)),
        };
        running.announce_stop();
        ends.send_replace(true);
        let served: Result<(), io::Error> = match &failed {
            None | Some(Ok(())) => wait(drain_timeout, serving).await,
            // What has failed is not waited for.
            Some(Err(_)) => Ok(()),
        };
        let stopped = running.stop().await;
        failed.unwrap_or(Ok(())).and(stopped).and_then(|()| served.map_err(ServiceError::Http))
    }
}

/// Connections that do not end do not keep the service from stopping.
#[expect(clippy::disallowed_methods, reason = "clients may keep their connections open")]
async fn wait(timeout: std::time::Duration, serving: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::time::timeout(timeout, serving).await.unwrap_or_else(|_| {
        tracing::warn!(?timeout, "connections did not end in time (`drain_timeout`): they are closed");
        Ok(())
    })
}
