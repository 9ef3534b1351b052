//! Handlers: async functions with up to twelve extractors.

use std::{future::Future, sync::Arc};

use crate::{
    delivery::Delivery,
    endpoint::{Call, Endpoint, Handling},
    extract::Extract,
    handler_error::HandlerError,
    outcome::{IntoOutcome, Outcome},
};

/// An async function that handles records: its arguments are [extractors](Extract), its result is an
/// [outcome](IntoOutcome). Functions and closures are handlers by themselves, nobody need implement this.
///
/// How it is tried, and what becomes of what it cannot handle, is said by [`IntoRoute`](crate::IntoRoute).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "a handler is an async function of at most 12 extractors, whose result implements `IntoOutcome`, \
            and whose future is `Send`"
)]
pub trait Handler<T, S>: Clone + Send + Sync + Sized + 'static {
    /// Handles a delivery.
    fn call(&self, delivery: &Delivery, state: &S) -> impl Future<Output = Outcome> + Send;
}

/// What becomes an endpoint when it is given its state.
pub(crate) type Build<S> = Box<dyn FnOnce(S) -> Endpoint + Send>;

pub(crate) fn build<T: 'static, S: Send + Sync + 'static>(handler: impl Handler<T, S>) -> Build<S> {
    Box::new(|state| Endpoint::new(Bound::new(handler, state)))
}

/// A handler with its state: what is called.
struct Bound<H, T, S> {
    handler: H,
    state: S,
    arguments: std::marker::PhantomData<fn(T)>,
}

impl<H, T, S> Bound<H, T, S> {
    const fn new(handler: H, state: S) -> Self {
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
