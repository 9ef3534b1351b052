//! What is called with a delivery: a handler with its state, inside its layers.

use std::{
    convert::Infallible,
    fmt,
    future::{self, Future},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{
    delivery::Delivery,
    failure::{BoxError, Failure},
    outcome::Outcome,
};

/// A handler with its state, as layers see it: a service of [deliveries](Delivery) that gives an [`Outcome`] and never
/// fails. It is always ready; what may run at once is the service's to say.
#[derive(Clone)]
pub struct Endpoint(Arc<dyn Call>);

/// The handling of one delivery.
pub struct Handling(Pin<Box<dyn Future<Output = Outcome> + Send>>);

pub(crate) trait Call: Send + Sync {
    fn call(self: Arc<Self>, delivery: Delivery) -> Handling;
}

impl Endpoint {
    pub(crate) fn new(call: impl Call + 'static) -> Self {
        Self(Arc::new(call))
    }

    pub(crate) fn handle(&self, delivery: Delivery) -> Handling {
        Arc::clone(&self.0).call(delivery)
    }

    /// This endpoint inside of a layer.
    pub(crate) fn layered<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Delivery, Response = Outcome, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self::new(Layered(layer.layer(self)))
    }
}

impl Service<Delivery> for Endpoint {
    type Response = Outcome;
    type Error = Infallible;
    type Future = Handling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Handling {
        self.handle(delivery)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Handling {
    pub(crate) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    pub(crate) fn ready(outcome: Outcome) -> Self {
        Self(Box::pin(future::ready(outcome)))
    }

    /// Waits for the outcome.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn outcome(mut self) -> Outcome {
        future::poll_fn(|context| self.poll_outcome(context)).await
    }

    /// Whoever wants the outcome alone.
    pub(crate) fn poll_outcome(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(context)
    }
}

impl Future for Handling {
    type Output = Result<Outcome, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_outcome(context).map(Ok)
    }
}

impl fmt::Debug for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handling").finish_non_exhaustive()
    }
}

struct Layered<S>(S);

impl<S> Call for Layered<S>
where
    S: Service<Delivery, Response = Outcome, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    fn call(self: Arc<Self>, delivery: Delivery) -> Handling {
        let mut service = self.0.clone();
        let failed =
            |error: S::Error| Outcome::Retry { failure: Failure::named("layer", error), after: None };
        Handling::new(async move {
            let ready = future::poll_fn(|context| service.poll_ready(context)).await;
            if let Err(outcome) = ready.map_err(failed) {
                return outcome;
            }
            service.call(delivery).await.unwrap_or_else(failed)
        })
    }
}
