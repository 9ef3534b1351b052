//! The derive macros of milena-service.

mod event;
mod from_ref;

use proc_macro::TokenStream;

/// Makes a type an event, by what `#[event(…)]` says of it:
///
/// | | | default |
/// |---|---|---|
/// | `type = "user.created"` | the type in CloudEvents | must be given |
/// | `version = 2` | the version of the data, from 1 on | 1 |
/// | `source = "/users"` | the source in CloudEvents | `/` |
/// | `key = user_id` | the field that is the key of the record; of a tuple struct its number, `key = 0` | no key |
/// | `codec = Path` | the codec | `milena_service::JsonCodec` |
/// | `upcast(1 => v1_to_v2, …)` | what brings data of a version up to the next one | older data is refused |
///
/// The key is the field's text by [`Display`](std::fmt::Display), as bytes: `7` is the same key whether the field is a
/// number or a text. An `Option` has no such text; a key that is not always there is written by hand, with the rest of
/// the trait.
///
/// An upcaster is a function from `serde_json::Value` to `serde_json::Value`, or to a `Result` of it whose error
/// becomes an `UpcastError`. They are listed in order and without a gap, and the last one ends at the current version.
/// The first need not begin at version 1: data that is older is refused then.
///
/// ```
/// use milena_service::{Ev, Event, Topic};
/// use serde::{Deserialize, Serialize};
/// use serde_json::Value;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "user.created", version = 2, source = "/users", key = user_id, upcast(1 => with_locale))]
/// struct UserCreated {
///     user_id: u64,
///     locale: String,
/// }
///
/// fn with_locale(mut value: Value) -> Value {
///     if let Some(fields) = value.as_object_mut() {
///         fields.insert("locale".to_owned(), "en".into());
///     }
///     value
/// }
///
/// const USERS: Topic<UserCreated> = Topic::new("user.created");
///
/// async fn on_user(Ev(user): Ev<UserCreated>) {
///     println!("{} speaks {}", user.user_id, user.locale);
/// }
/// # let _: milena_service::Router = milena_service::Router::new().topic(USERS, on_user);
/// ```
///
/// # What does not compile
///
/// A type must be given:
///
/// ```compile_fail
/// # use milena_service::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(version = 1)]
/// struct UserCreated;
/// ```
///
/// Versions are counted from 1 on:
///
/// ```compile_fail
/// # use milena_service::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(type = "user.created", version = 0)]
/// struct UserCreated;
/// ```
///
/// Nothing else may be said of an event:
///
/// ```compile_fail
/// # use milena_service::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(type = "user.created", topic = "users")]
/// struct UserCreated;
/// ```
///
/// The key is one of the fields:
///
/// ```compile_fail
/// # use milena_service::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(type = "user.created", key = id)]
/// struct UserCreated { user_id: u64 }
/// ```
///
/// And that has a text:
///
/// ```compile_fail
/// # use milena_service::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(type = "user.created", key = user_id)]
/// struct UserCreated { user_id: Option<u64> }
/// ```
///
/// No version is left out between the first upcaster and the current one:
///
/// ```compile_fail
/// # use milena_service::Event;
/// # fn up(value: serde_json::Value) -> serde_json::Value { value }
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(type = "user.created", version = 4, upcast(1 => up, 3 => up))]
/// struct UserCreated;
/// ```
///
/// And none is behind it:
///
/// ```compile_fail
/// # use milena_service::Event;
/// # fn up(value: serde_json::Value) -> serde_json::Value { value }
/// #[derive(Event, serde::Serialize, serde::Deserialize)]
/// #[event(type = "user.created", version = 2, upcast(1 => up, 2 => up))]
/// struct UserCreated;
/// ```
///
/// [`JsonCodec`](https://docs.rs/milena-service) needs serde's traits:
///
/// ```compile_fail
/// # use milena_service::Event;
/// #[derive(Event)]
/// #[event(type = "user.created")]
/// struct UserCreated;
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    event::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes each field of a struct a part of it, by `FromRef`: of a router whose state this is, handlers take what they need
/// by `State<Part>`. The types of the fields must differ from each other; `#[from_ref(skip)]` leaves a field out. Parts
/// are cloned.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// use milena_service::{FromRef, Json, Router, State};
///
/// #[derive(Clone, Default)]
/// struct Rates(Arc<[u64]>);
///
/// #[derive(Clone, Default)]
/// struct Total(Arc<AtomicU64>);
///
/// #[derive(Clone, Default, FromRef)]
/// struct App {
///     rates: Rates,
///     total: Total,
///     #[from_ref(skip)]
///     spare: Total,
/// }
///
/// async fn add(State(Total(total)): State<Total>, Json(amount): Json<u64>) {
///     total.fetch_add(amount, Ordering::Relaxed);
/// }
///
/// let router: Router = Router::new().topic("orders", add).with_state(App::default());
/// ```
///
/// # What does not compile
///
/// Two fields of one type, since `State` could mean either:
///
/// ```compile_fail
/// #[derive(Clone, milena_service::FromRef)]
/// struct App { first: String, second: String }
/// ```
#[proc_macro_derive(FromRef, attributes(from_ref))]
pub fn derive_from_ref(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    from_ref::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
