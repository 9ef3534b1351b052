//! Creating and deleting, by what brokers answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{
    engine::{
        machine::Failure,
        script::{answer, failure},
    },
    error::Resource,
    wire::messages::{
        create_topics_response::CreatableTopicResult, delete_topics_response::DeletableTopicResult,
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn creating(names: &[&str]) -> CreateTopics {
    CreateTopics::new(names.iter().map(|name| NewTopic::new(*name)), false)
}

fn deleting(names: &[&str]) -> DeleteTopics {
    DeleteTopics::new(names.iter().map(|name| (*name).into()))
}

fn created(codes: &[(&str, Code)]) -> Outcome {
    let topics = codes.iter().map(|(name, code)| CreatableTopicResult {
        name: (*name).into(),
        error_code: code.get(),
        error_message: Some(format!("about {name}").into()),
        ..CreatableTopicResult::default()
    });
    answer(7, CreateTopicsResponse { topics: topics.collect(), ..CreateTopicsResponse::default() })
}

fn deleted(codes: &[(&str, Code)]) -> Outcome {
    let responses = codes.iter().map(|(name, code)| DeletableTopicResult {
        name: Some((*name).into()),
        error_code: code.get(),
        ..DeletableTopicResult::default()
    });
    answer(5, DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() })
}

fn not_sent() -> Outcome {
    failure().map_err(|failure| Failure { maybe_sent: false, ..failure })
}

fn done<T: std::fmt::Debug>(verdict: Verdict<T>) -> T {
    match verdict {
        Verdict::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

fn retried<T: std::fmt::Debug>(verdict: Verdict<T>) -> Error {
    match verdict {
        Verdict::Retry(error) => error,
        other => panic!("{other:?}"),
    }
}

fn code_of(all: &Outcomes, name: &str) -> Option<Code> {
    all[name].as_ref().err().and_then(Error::code)
}

/// The names that the next attempt asks for.
fn asked(ask: &impl Ask) -> Vec<String> {
    match ask.request(SECOND) {
        Request::CreateTopics(request) => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
        Request::DeleteTopics(request) => request.topic_names.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_topic_has_its_own_outcome() {
    let mut ask = creating(&["denied", "closed", "exists", "full", "like-another", "made", "silent"]);
    let all = done(ask.judge(created(&[
        ("denied", Code::TOPIC_AUTHORIZATION_FAILED),
        ("closed", Code::CLUSTER_AUTHORIZATION_FAILED),
        ("exists", Code::TOPIC_ALREADY_EXISTS),
        ("full", Code::POLICY_VIOLATION),
        ("like-another", Code::INVALID_TOPIC_EXCEPTION),
        ("made", Code::NONE),
        ("unasked", Code::NONE),
    ])));
    assert_eq!(all.len(), 7);
    assert!(all["made"].is_ok());
    assert_eq!(code_of(&all, "exists"), Some(Code::TOPIC_ALREADY_EXISTS));
    let kind = |name: &str| all[name].as_ref().unwrap_err().kind();
    let denied = |name: &str, resource: Resource, of: &str| matches!(kind(name), ErrorKind::NotAuthorized { resource: r, name: n } if *r == resource && n == of);
    assert!(denied("denied", Resource::Topic, "denied") && denied("closed", Resource::Cluster, ""));
    assert!(
        matches!(kind("full"), ErrorKind::Broker { code: Code::POLICY_VIOLATION, request: "CreateTopics", subject, message: Some(m) }
            if subject == "full" && m == "about full")
    );
    assert!(
        matches!(kind("like-another"), ErrorKind::InvalidTopic { reason, .. } if reason == "about like-another")
    );
    assert!(matches!(kind("silent"), ErrorKind::Malformed { .. }));
}

#[test]
fn names_that_no_broker_takes_are_not_sent() {
    let mut ask = creating(&["a/b", "good", "twice", "twice"]);
    assert_eq!(asked(&ask), ["good"]);
    let all = done(ask.judge(created(&[("good", Code::NONE)])));
    for (name, words) in [("a/b", "holds '/'"), ("twice", "given twice")] {
        let kind = all[name].as_ref().unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::InvalidTopic { reason, .. } if reason.contains(words)), "{kind:?}");
    }
    let settled = creating(&["", ".."]).fates.all_settled().unwrap();
    assert!(settled.len() == 2 && settled.values().all(Result::is_err));
    assert!(deleting(&[]).fates.all_settled().unwrap().is_empty());
}

#[test]
fn only_topics_without_an_outcome_are_asked_for_again() {
    let mut ask = creating(&["a", "b", "c"]);
    let error = retried(ask.judge(created(&[
        ("a", Code::NONE),
        ("b", Code::THROTTLING_QUOTA_EXCEEDED),
        ("c", Code::TOPIC_ALREADY_EXISTS),
    ])));
    assert_eq!(error.code(), Some(Code::THROTTLING_QUOTA_EXCEEDED));
    assert_eq!(asked(&ask), ["b"]);
    let all = done(ask.judge(created(&[("b", Code::NONE)])));
    assert!(all["a"].is_ok() && all["b"].is_ok() && all["c"].is_err());
}

#[test]
fn what_an_earlier_attempt_may_have_done_counts_as_done() {
    for doubtful in
        [failure(), created(&[("t", Code::REQUEST_TIMED_OUT)]), created(&[("t", Code::NOT_CONTROLLER)])]
    {
        let mut ask = creating(&["t"]);
        retried(ask.judge(doubtful));
        // A later attempt that did certainly nothing takes no doubt away.
        retried(ask.judge(created(&[("t", Code::THROTTLING_QUOTA_EXCEEDED)])));
        assert!(done(ask.judge(created(&[("t", Code::TOPIC_ALREADY_EXISTS)])))["t"].is_ok());
    }
    for doubtful in
        [failure(), deleted(&[("t", Code::REQUEST_TIMED_OUT)]), deleted(&[("t", Code::NOT_CONTROLLER)])]
    {
        let mut ask = deleting(&["t"]);
        retried(ask.judge(doubtful));
        assert!(done(ask.judge(deleted(&[("t", Code::UNKNOWN_TOPIC_OR_PARTITION)])))["t"].is_ok());
    }
}

#[test]
fn what_no_earlier_attempt_can_have_done_is_an_error() {
    for harmless in [not_sent(), created(&[("t", Code::THROTTLING_QUOTA_EXCEEDED)])] {
        let mut ask = creating(&["t"]);
        retried(ask.judge(harmless));
        let all = done(ask.judge(created(&[("t", Code::TOPIC_ALREADY_EXISTS)])));
        assert_eq!(code_of(&all, "t"), Some(Code::TOPIC_ALREADY_EXISTS));
    }
    for harmless in [not_sent(), deleted(&[("t", Code::THROTTLING_QUOTA_EXCEEDED)])] {
        let mut ask = deleting(&["t"]);
        retried(ask.judge(harmless));
        let all = done(ask.judge(deleted(&[("t", Code::UNKNOWN_TOPIC_OR_PARTITION)])));
        assert_eq!(code_of(&all, "t"), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    }
    // Another refusal stays one, whatever came before.
    let mut ask = creating(&["t"]);
    retried(ask.judge(failure()));
    let all = done(ask.judge(created(&[("t", Code::INVALID_CONFIG)])));
    assert_eq!(code_of(&all, "t"), Some(Code::INVALID_CONFIG));
}

#[test]
fn a_validation_creates_nothing_that_could_exist_later() {
    let mut ask = CreateTopics::new([NewTopic::new("t")], true);
    retried(ask.judge(failure()));
    assert!(matches!(ask.request(SECOND), Request::CreateTopics(request) if request.validate_only));
    let all = done(ask.judge(created(&[("t", Code::TOPIC_ALREADY_EXISTS)])));
    assert_eq!(code_of(&all, "t"), Some(Code::TOPIC_ALREADY_EXISTS));
}

#[test]
fn deleting_reports_each_topic() {
    let mut ask = deleting(&["gone", "denied", "off", "t", "t"]);
    let all = done(ask.judge(deleted(&[
        ("gone", Code::UNKNOWN_TOPIC_OR_PARTITION),
        ("denied", Code::TOPIC_AUTHORIZATION_FAILED),
        ("off", Code::TOPIC_DELETION_DISABLED),
        ("t", Code::NONE),
    ])));
    assert_eq!(code_of(&all, "gone"), Some(Code::UNKNOWN_TOPIC_OR_PARTITION));
    let denied = all["denied"].as_ref().unwrap_err().kind();
    assert!(
        matches!(denied, ErrorKind::NotAuthorized { resource: Resource::Topic, name } if name == "denied")
    );
    assert_eq!(code_of(&all, "off"), Some(Code::TOPIC_DELETION_DISABLED));
    assert!(all["t"].is_ok());
}

#[test]
fn giving_up_tells_what_is_known() {
    let mut ask = creating(&["a", "b"]);
    retried(ask.judge(created(&[("a", Code::NONE), ("b", Code::NOT_CONTROLLER)])));
    let error = retried(ask.judge(failure()));
    let all = ask.give_up(error).unwrap();
    assert!(all["a"].is_ok());
    assert!(matches!(all["b"].as_ref().unwrap_err().kind(), ErrorKind::Io { .. }));

    let mut ask = creating(&["a", "a/b"]);
    let error = retried(ask.judge(failure()));
    assert!(matches!(ask.give_up(error).unwrap_err().kind(), ErrorKind::Io { .. }));
}

#[test]
fn the_broker_is_given_less_time_than_the_call() {
    assert_eq!(broker_timeout_ms(Duration::from_secs(8)), 7000);
    assert_eq!(broker_timeout_ms(Duration::ZERO), 1);
    assert_eq!(broker_timeout_ms(Duration::MAX), i32::MAX);
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    let wrong = creating(&["t"]).judge(deleted(&[]));
    assert!(matches!(wrong, Verdict::Fail(error) if matches!(error.kind(), ErrorKind::Malformed { .. })));
}
