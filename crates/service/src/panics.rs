//! Panics of the user's code, which are failures like any other.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

/// Polls until it is ready, or panics: then it tells what the panic has said.
pub(crate) async fn caught<T>(
    mut poll: AssertUnwindSafe<impl FnMut(&mut Context<'_>) -> Poll<T>>,
) -> Result<T, String> {
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| (poll.0)(context))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(said(&*payload))),
    })
    .await
}

/// What a panic has said.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words").to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_panic_tells_what_it_has_said() {
        assert_eq!(caught(AssertUnwindSafe(|_: &mut Context<'_>| Poll::Ready(7))).await, Ok(7));
        let loud = |_: &mut Context<'_>| -> Poll<u8> { panic!("number {}", 7) };
        assert_eq!(caught(AssertUnwindSafe(loud)).await, Err("number 7".to_owned()));
        let plain = |_: &mut Context<'_>| -> Poll<u8> { panic!("plain") };
        assert_eq!(caught(AssertUnwindSafe(plain)).await, Err("plain".to_owned()));
    }
}
