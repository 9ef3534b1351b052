//! Calls that are made again.

use super::*;

/// A heartbeat that is asked for until there is no error, and says what was thought of each attempt.
#[derive(Default)]
struct Beat {
    attempts: Vec<String>,
}

impl Ask for Beat {
    type Output = Vec<String>;

    fn target(&self) -> Target {
        Target::Broker(NodeId(1))
    }

    fn request(&self, _patience: Duration) -> Request {
        heartbeat()
    }

    fn judge(&mut self, outcome: Outcome) -> Verdict<Vec<String>> {
        let beat = outcome.map_err(|failure| {
            self.attempts.push(format!("no answer, maybe sent: {}", failure.maybe_sent));
            failure.error
        });
        let code =
            beat.and_then(response::<HeartbeatResponse>).map(|response| Code::new(response.error_code));
        match code {
            Ok(Code::NONE) => Verdict::Done(mem::take(&mut self.attempts)),
            Ok(code) => {
                self.attempts.push(code.to_string());
                Verdict::of(Error::broker(code, "Heartbeat", ""))
            }
            Err(error) => Verdict::of(error),
        }
    }
}

fn beating(code: Code) -> Reply {
    Reply::Now(HeartbeatResponse { error_code: code.get(), ..Default::default() }.into())
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_again_until_it_succeeds() {
    let count = AtomicUsize::new(0);
    let count = Arc::new(count);
    let (_network, client) = one_broker(move |_: &Received| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Hangup,
        1 | 2 => beating(Code::COORDINATOR_LOAD_IN_PROGRESS),
        3 => beating(Code::NONE),
        _ => beating(Code::FENCED_INSTANCE_ID),
    })
    .await;
    let loading = Code::COORDINATOR_LOAD_IN_PROGRESS.to_string();
    let attempts = client.ask(Beat::default(), 10 * SECOND, "test").await.unwrap();
    assert_eq!(attempts, ["no answer, maybe sent: true", &loading, &loading]);
    let error = client.ask(Beat::default(), 10 * SECOND, "test").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FENCED_INSTANCE_ID));
}

#[tokio::test(start_paused = true)]
async fn attempts_end_in_time_with_the_last_error() {
    let (_network, client) =
        one_broker(move |_: &Received| beating(Code::COORDINATOR_LOAD_IN_PROGRESS)).await;
    let started = Instant::now();
    let error = client.ask(Beat::default(), 10 * SECOND, "test").await.unwrap_err();
    assert_eq!(error.code(), Some(Code::COORDINATOR_LOAD_IN_PROGRESS));
    assert!(started.elapsed() <= 10 * SECOND && started.elapsed() > 8 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_waited_for_no_longer_than_the_caller_says() {
    let (_network, client) = one_broker(never).await;
    let started = Instant::now();
    let error = client.ask(Beat::default(), 3 * SECOND, "test").await.unwrap_err();
    let timeout =
        matches!(error.kind(), ErrorKind::Timeout { after, setting: "test", .. } if *after == 3 * SECOND);
    assert!(timeout && started.elapsed() <= 3 * SECOND, "{error} after {:?}", started.elapsed());
}
