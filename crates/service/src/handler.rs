//! Handlers: async functions with up to twelve extractors.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    delivery::Delivery,
    endpoint::{Call, Handling},
    extract::Extract,
    outcome::{HandlerError, IntoOutcome, Outcome},
    retry::Retry,
    route::Route,
};

/// An async function that handles records: its arguments are [extractors](Extract), its result is an
/// [outcome](IntoOutcome). Functions and closures are handlers by themselves, nobody need implement this.
///
/// The methods make a [`Route`] of a handler: with tries, a dead-letter topic, and so on.
///
/// ```
/// use std::time::Duration;
/// use milena_service::{Handler, HandlerError, Json, Meta, Router};
///
/// async fn on_order(Json(order): Json<serde_json::Value>, at: Meta) -> Result<(), HandlerError> {
///     println!("{order} at {}", at.offset);
///     Ok(())
/// }
///
/// let router: Router = Router::new()
///     .topic("orders", on_order.retry([Duration::from_secs(1), Duration::from_secs(10)]).dead_letter());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "a handler is an async function of at most 12 extractors, whose result implements `IntoOutcome`, \
            and whose future is `Send`"
)]
pub trait Handler<T, S>: Clone + Send + Sync + Sized + 'static {
    /// Handles a delivery.
    fn call(&self, delivery: &Delivery, state: &S) -> impl Future<Output = Outcome> + Send;

    /// A route by this name, in metrics, spans and headers of dead letters. Without one it has the function's.
    fn named(self, name: impl Into<String>) -> Route<S>
    where
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Route::new(self).named(name)
    }

    /// A route that tries again so often; see [`Route::retry`].
    fn retry(self, retry: impl Into<Retry>) -> Route<S>
    where
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Route::new(self).retry(retry)
    }

    /// A route with a dead-letter topic; see [`Route::dead_letter`].
    fn dead_letter(self) -> Route<S>
    where
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Route::new(self).dead_letter()
    }

    /// A route whose handler has so much time; see [`Route::timeout`].
    fn timeout(self, timeout: Duration) -> Route<S>
    where
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        Route::new(self).timeout(timeout)
    }
}

/// A handler with its state: what is called.
pub(crate) struct Bound<H, T, S> {
    handler: H,
    state: S,
    arguments: std::marker::PhantomData<fn(T)>,
}

impl<H, T, S> Bound<H, T, S> {
    pub(crate) const fn new(handler: H, state: S) -> Self {
        Self { handler, state, arguments: std::marker::PhantomData }
    }
}

impl<H: Handler<T, S>, T: 'static, S: Send + Sync + 'static> Call for Bound<H, T, S> {
    fn call(self: Arc<Self>, delivery: Delivery) -> Handling {
        Handling::new(async move { self.handler.call(&delivery, &self.state).await })
    }
}

macro_rules! handlers {
    ($($argument:ident)*) => {
        impl<F, Fut, S, $($argument,)*> Handler<($($argument,)*), S> for F
        where
            F: Fn($($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output: IntoOutcome> + Send,
            S: Sync,
            $($argument: Extract<S>,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "one macro for all numbers of arguments")]
            async fn call(&self, delivery: &Delivery, state: &S) -> Outcome {
                $(
                    let $argument = match $argument::extract(delivery, state).await {
                        Ok(argument) => argument,
                        Err(rejection) => {
                            let error: HandlerError = rejection.into();
                            return error.into_outcome();
                        }
                    };
                )*
                self($($argument),*).await.into_outcome()
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);
handlers!(A B C D E G);
handlers!(A B C D E G H);
handlers!(A B C D E G H I);
handlers!(A B C D E G H I J);
handlers!(A B C D E G H I J K);
handlers!(A B C D E G H I J K L);
handlers!(A B C D E G H I J K L M);
