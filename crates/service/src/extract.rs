//! What handlers may ask for: their arguments, in any order.

use std::{
    convert::Infallible,
    future::{self, Future},
    ops::Deref,
    sync::Arc,
};

use bytes::Bytes;
use milena::{Message, Offset, Partition, TopicName};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{delivery::Delivery, handler_error::HandlerError, headers, undecodable::Undecodable};

/// An argument of handlers, made from what was delivered and the state of the router. The order of the arguments does not
/// matter, and several may read the same record.
///
/// What cannot be extracted is a failure of the record, by the rejection: a handler is not called with less than it asks
/// for.
///
/// ```
/// use milena_service::{Delivery, Extract, HandlerError};
///
/// struct Tenant(String);
///
/// impl<S: Sync> Extract<S> for Tenant {
///     type Rejection = HandlerError;
///
///     async fn extract(delivery: &Delivery, _state: &S) -> Result<Self, HandlerError> {
///         match delivery.message().headers().last_named("tenant").flatten() {
///             Some(name) => Ok(Self(String::from_utf8_lossy(name).into_owned())),
///             None => Err(HandlerError::dead_letter("no tenant")),
///         }
///     }
/// }
/// ```
pub trait Extract<S>: Sized + Send {
    /// Why it could not be extracted, and what becomes of the record then.
    type Rejection: Into<HandlerError> + Send;

    /// Makes the argument.
    fn extract(delivery: &Delivery, state: &S) -> impl Future<Output = Result<Self, Self::Rejection>> + Send;
}

/// A part of the state of a router, for [`State`]. Everything that can be cloned is a part of itself; the derive macro of
/// the same name makes the fields of a struct its parts.
pub trait FromRef<S> {
    /// Takes the part.
    fn from_ref(state: &S) -> Self;
}

impl<S: Clone> FromRef<S> for S {
    fn from_ref(state: &S) -> Self {
        state.clone()
    }
}

/// The state of the router ([`Router::with_state`](crate::Router::with_state)), or a [part](FromRef) of it.
#[derive(Clone, Copy, Debug)]
pub struct State<T>(pub T);

impl<S: Sync, T: FromRef<S> + Send> Extract<S> for State<T> {
    type Rejection = Infallible;

    fn extract(_: &Delivery, state: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        future::ready(Ok(Self(T::from_ref(state))))
    }
}

/// The record itself, as the client gave it.
#[derive(Clone, Debug)]
pub struct Raw(pub Message);

impl<S: Sync> Extract<S> for Raw {
    type Rejection = Infallible;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        future::ready(Ok(Self(delivery.message().clone())))
    }
}

/// The value, decoded as JSON. A record without a value is rejected; `Option<Json<T>>` takes it for `None`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Send> Extract<S> for Json<T> {
    type Rejection = Undecodable;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Undecodable>> + Send {
        let value = delivery.message().value().ok_or(Undecodable::NoValue);
        future::ready(
            value.and_then(|value| Ok(Self(serde_json::from_slice(value).map_err(Undecodable::Json)?))),
        )
    }
}

impl<S: Sync, T: DeserializeOwned + Send> Extract<S> for Option<Json<T>> {
    type Rejection = Undecodable;

    async fn extract(delivery: &Delivery, state: &S) -> Result<Self, Undecodable> {
        match delivery.message().value() {
            Some(_) => Json::extract(delivery, state).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The key: as bytes, as text, as a number in text, or as an `Option` of these where records may have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<T = Bytes>(pub T);

/// What a [`Key`] may be taken as.
pub trait FromKey: Sized {
    /// Takes the key of a record.
    ///
    /// # Errors
    /// A key that is missing, or is something else.
    fn from_key(key: Option<Bytes>) -> Result<Self, Undecodable>;
}

impl FromKey for Bytes {
    fn from_key(key: Option<Bytes>) -> Result<Self, Undecodable> {
        key.ok_or(Undecodable::NoKey)
    }
}

impl FromKey for String {
    fn from_key(key: Option<Bytes>) -> Result<Self, Undecodable> {
        Self::from_utf8(Bytes::from_key(key)?.into()).map_err(|error| Undecodable::Key(error.utf8_error()))
    }
}

/// Numbers are keys as text, as the derive macro of events writes them.
macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl FromKey for $number {
            fn from_key(key: Option<Bytes>) -> Result<Self, Undecodable> {
                let key = String::from_key(key)?;
                key.parse().map_err(|error| Undecodable::KeyNumber { key, error })
            }
        })*
    };
}

numbers!(u32 u64 u128 i32 i64 i128);

impl<T: FromKey> FromKey for Option<T> {
    fn from_key(key: Option<Bytes>) -> Result<Self, Undecodable> {
        key.map(|key| T::from_key(Some(key))).transpose()
    }
}

impl<S: Sync, T: FromKey + Send> Extract<S> for Key<T> {
    type Rejection = Undecodable;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Undecodable>> + Send {
        future::ready(T::from_key(delivery.message().shared_key()).map(Self))
    }
}

/// The headers.
#[derive(Clone, Debug)]
pub struct Headers(Message);

impl Headers {
    /// All headers, in their order; a name may come twice, and a value may be null.
    pub fn iter(&self) -> milena::Headers<'_> {
        self.0.headers()
    }

    /// The value of the last header of this name, if there is one and it is not null.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.headers().last_named(name).flatten()
    }

    /// The same as text; `None` also for what is not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        headers::text(&self.0, name)
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = milena::Header<'a>;
    type IntoIter = milena::Headers<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<S: Sync> Extract<S> for Headers {
    type Rejection = Infallible;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        future::ready(Ok(Self(delivery.message().clone())))
    }
}

/// Where a record stands, and which try this is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: Partition,
    /// The record's place in the partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; negative if the producer set none.
    pub timestamp: i64,
    /// The how manieth try this is, from 1 on.
    pub attempt: u32,
}

impl<S: Sync> Extract<S> for Meta {
    type Rejection = Infallible;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        let message = delivery.message();
        future::ready(Ok(Self {
            topic: message.topic().clone(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp(),
            attempt: delivery.attempt(),
        }))
    }
}

/// What a layer has [added](Delivery::insert). That it is missing is a mistake in how the router was put together: the
/// record's lane halts.
#[derive(Clone, Debug)]
pub struct Ext<T>(pub Arc<T>);

impl<S: Sync, T: Send + Sync + 'static> Extract<S> for Ext<T> {
    type Rejection = HandlerError;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, HandlerError>> + Send {
        let missing = || HandlerError::halt(format!("no layer has added {}", std::any::type_name::<T>()));
        future::ready(delivery.extension().map(Self).ok_or_else(missing))
    }
}

/// Tells a handler that the service is stopping. What a handler returns from then on as a failure is not counted as one:
/// the record is given back, to be handled by who gets the partition next.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    pub(crate) const fn new(stopping: watch::Receiver<bool>) -> Self {
        Self(stopping)
    }

    /// Whether the service is stopping.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the service is stopping. Cancel-safe.
    pub async fn requested(&mut self) {
        // An error says that the service is gone.
        let _gone = self.0.wait_for(|stopping| *stopping).await;
    }
}

impl<S: Sync> Extract<S> for Stopping {
    type Rejection = Infallible;

    fn extract(delivery: &Delivery, _: &S) -> impl Future<Output = Result<Self, Infallible>> + Send {
        future::ready(Ok(Self::new(delivery.stopping())))
    }
}

/// What is extracted from each record of a [batch](crate::batch), in the order of their offsets.
///
/// If one of them cannot be extracted, the records are handled one by one, so that it alone fails, or is skipped.
#[derive(Clone, Debug)]
pub struct Batch<T>(pub Vec<T>);

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<S: Sync, T: Extract<S>> Extract<S> for Batch<T> {
    type Rejection = HandlerError;

    async fn extract(delivery: &Delivery, state: &S) -> Result<Self, HandlerError> {
        let rejected = |rejection: T::Rejection| {
            let error: HandlerError = rejection.into();
            if delivery.len() > 1 { error.of_one_among_others() } else { error }
        };
        let mut all = Vec::with_capacity(delivery.len());
        for one in delivery.each() {
            all.push(T::extract(&one, state).await.map_err(rejected)?);
        }
        Ok(Self(all))
    }
}

impl<S: Sync, A: Extract<S>, B: Extract<S>> Extract<S> for (A, B) {
    type Rejection = HandlerError;

    async fn extract(delivery: &Delivery, state: &S) -> Result<Self, HandlerError> {
        let first = A::extract(delivery, state).await.map_err(Into::into)?;
        Ok((first, B::extract(delivery, state).await.map_err(Into::into)?))
    }
}

impl<S: Sync, A: Extract<S>, B: Extract<S>, C: Extract<S>> Extract<S> for (A, B, C) {
    type Rejection = HandlerError;

    async fn extract(delivery: &Delivery, state: &S) -> Result<Self, HandlerError> {
        let (first, second) = <(A, B)>::extract(delivery, state).await?;
        Ok((first, second, C::extract(delivery, state).await.map_err(Into::into)?))
    }
}
