//! Two transcripts, field by field.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::line::Outcome;
use super::talk::Step;

/// A difference that is known and stays: where the embedded broker is not meant to be like Kafka.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// The step, by the beginning of its name.
    pub step: &'static str,
    /// The JSON pointer of the field that differs, by its end.
    pub field: &'static str,
    /// Why.
    pub why: &'static str,
}

/// Where two transcripts of one script differ, each with both answers; nothing if they do not.
///
/// Compared is everything but what cannot be equal. Ids of topics, members, producers, sessions and clusters, and ports,
/// are compared by their order of appearance: the first topic id of one is the first topic id of the other. Of messages
/// for people only that there is one where Kafka has one, of times of the broker's clock only that they are such. Lists
/// that Kafka makes from hash maps are sorted. Throttle times and the number of feature changes are left out, and so are APIs that the
/// embedded broker does not have.
#[must_use]
pub fn compare(kafka: &[Step], embedded: &[Step], allowed: &[Allowed]) -> Vec<String> {
    let (mut of_kafka, mut of_embedded) = (Names::default(), Names::default());
    let mut differences = Vec::new();
    let mut used = vec![false; allowed.len()];
    for (one, other) in kafka.iter().zip(embedded) {
        if one.name != other.name {
            differences
                .push(format!("steps `{}` and `{}` came about at the same place", one.name, other.name));
            break;
        }
        one.unrecorded.iter().for_each(|answer| drop(of_kafka.clean_value("", answer)));
        other.unrecorded.iter().for_each(|answer| drop(of_embedded.clean_value("", answer)));
        let (mut left, right) = (of_kafka.clean(&one.outcome), of_embedded.clean(&other.outcome));
        keep_known_apis(&mut left, &right);
        let mut paths = Vec::new();
        differing("", &left, &right, &mut paths);
        paths.retain(|(path, left, _)| {
            // The embedded broker may say more to people than Kafka does.
            if left.is_null() && MESSAGES.iter().any(|message| path.ends_with(message)) {
                return false;
            }
            let mut known = allowed.iter().zip(&mut used);
            let known =
                known.find(|(known, _)| one.name.starts_with(known.step) && path.ends_with(known.field));
            known.map(|(_, used)| *used = true).is_none()
        });
        if paths.is_empty() {
            continue;
        }
        let fields: Vec<String> = paths
            .iter()
            .map(|(path, left, right)| format!("  {path}: Kafka {left}, embedded {right}"))
            .collect();
        differences.push(format!(
            "step `{}` ({})\n{}\n  Kafka:    {left}\n  embedded: {right}",
            one.name,
            shortened(&one.request),
            fields.join("\n"),
        ));
    }
    if kafka.len() != embedded.len() {
        differences.push(format!("Kafka took {} steps, embedded {}", kafka.len(), embedded.len()));
    }
    let unused = allowed.iter().zip(&used).filter(|(_, used)| !**used);
    differences.extend(unused.map(|(known, _)| format!("nothing differs where it is allowed to: {known:?}")));
    differences
}

/// The ids that one broker has given out, by kind, and what they are called here.
#[derive(Debug, Default)]
struct Names(BTreeMap<(&'static str, String), String>);

impl Names {
    fn clean(&mut self, outcome: &Outcome) -> Value {
        match outcome {
            Outcome::Answer(answer) => self.clean_value("", answer),
            Outcome::Closed => json!("(the connection was closed)"),
        }
    }

    fn clean_value(&mut self, field: &str, value: &Value) -> Value {
        match value {
            Value::Object(tree) => {
                let kept = tree.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
                kept.map(|(name, value)| (name.clone(), self.clean_value(name, value))).collect()
            }
            Value::Array(elements) => {
                let mut cleaned: Vec<Value> =
                    elements.iter().map(|element| self.clean_value(field, element)).collect();
                if is_unordered(field, elements) {
                    cleaned.sort_by_key(Value::to_string);
                }
                Value::Array(cleaned)
            }
            value => self.clean_leaf(field, value),
        }
    }

    fn clean_leaf(&mut self, field: &str, value: &Value) -> Value {
        if MESSAGES.contains(&field) {
            return if value.is_null() { Value::Null } else { json!("(text)") };
        }
        if TIMES.contains(&field) && value.as_i64().is_some_and(is_recent) {
            return json!("(now)");
        }
        let Some((_, kind)) = IDS.iter().find(|(name, _)| *name == field) else { return value.clone() };
        // Null, nothing, -1 and, but for producers, zero say that there is none.
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let zero = text.chars().all(|c| c == '0');
        if value.is_null() || text.is_empty() || text == "-1" || (zero && *kind != "producer") {
            return value.clone();
        }
        let of_kind = self.0.keys().filter(|(other, _)| other == kind).count();
        let name = self.0.entry((kind, text)).or_insert_with(|| format!("({kind} {})", of_kind + 1));
        json!(name)
    }
}

const IDS: &[(&str, &str)] = &[
    ("ClusterId", "cluster"),
    ("Leader", "member"),
    ("MemberId", "member"),
    ("Port", "port"),
    ("ProducerId", "producer"),
    ("SessionId", "session"),
    ("TopicId", "topic"),
];
const MESSAGES: &[&str] = &["BatchIndexErrorMessage", "ErrorMessage"];
const TIMES: &[&str] = &["BaseTimestamp", "LogAppendTimeMs", "MaxTimestamp", "Timestamp"];
const LEFT_OUT: &[&str] = &["FinalizedFeaturesEpoch", "ThrottleTimeMs"];
const UNORDERED: &[&str] = &[
    "ApiKeys",
    "Configs",
    "FinalizedFeatures",
    "Groups",
    "Members",
    "ResultsByPartition",
    "SupportedFeatures",
    "Topics",
];

/// Whether Kafka gives a list the order of some hash map. What Fetch answers has an order.
fn is_unordered(field: &str, elements: &[Value]) -> bool {
    let has = |name: &str| elements.iter().any(|element| element.get(name).is_some());
    match field {
        "Partitions" => !has("Records"),
        "Responses" => has("ErrorCode") || has("PartitionResponses"),
        field => UNORDERED.contains(&field),
    }
}

/// The embedded broker has fewer APIs than Kafka; only those that both have are compared.
fn keep_known_apis(kafka: &mut Value, embedded: &Value) {
    let Some(has) = embedded.get("ApiKeys").and_then(Value::as_array) else { return };
    let is_known = |api: &Value| has.iter().any(|other| other.get("ApiKey") == api.get("ApiKey"));
    if let Some(apis) = kafka.get_mut("ApiKeys").and_then(Value::as_array_mut) {
        apis.retain(is_known);
    }
}

/// Whether it is a time of this hour.
fn is_recent(time: i64) -> bool {
    let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_millis()).unwrap_or(i64::MAX);
    (now - 3_600_000..=now + 60_000).contains(&time)
}

/// The paths of the leaves that differ, with what is there.
fn differing(path: &str, left: &Value, right: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for name in left.keys().chain(right.keys().filter(|name| !left.contains_key(*name))) {
                let absent = json!("(absent)");
                let (left, right) = (left.get(name), right.get(name));
                let path = format!("{path}/{name}");
                differing(&path, left.unwrap_or(&absent), right.unwrap_or(&absent), found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differing(&format!("{path}/{index}"), left, right, found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => found.push((path.to_owned(), left.clone(), right.clone())),
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 600;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn step(name: &str, answer: Value) -> Step {
        let outcome = Outcome::Answer(answer);
        Step { name: name.to_owned(), request: "R v0".to_owned(), outcome, unrecorded: Vec::new() }
    }

    #[test]
    fn a_field_that_differs_is_found_by_its_path() {
        let one = [step("s", json!({ "Topics": [{ "ErrorCode": 0 }, { "ErrorCode": 3 }] }))];
        let other = [step("s", json!({ "Topics": [{ "ErrorCode": 0 }, { "ErrorCode": 5 }] }))];
        assert!(compare(&one, &one, &[]).is_empty());
        let found = compare(&one, &other, &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("/Topics/1/ErrorCode: Kafka 3, embedded 5"), "{}", found[0]);
    }

    #[test]
    fn fields_elements_outcomes_and_steps_that_lack_are_found() {
        let full = [step("s", json!({ "A": [1, 2], "B": null }))];
        for other in
            [json!({ "A": [1, 2] }), json!({ "A": [1], "B": null }), json!({ "A": [2, 1], "B": null })]
        {
            assert_eq!(compare(&full, &[step("s", other.clone())], &[]).len(), 1, "{other}");
        }
        let closed = [Step { outcome: Outcome::Closed, ..step("s", Value::Null) }];
        assert_eq!(compare(&full, &closed, &[]).len(), 1);
        assert!(compare(&closed, &closed, &[]).is_empty());
        assert_eq!(compare(&full, &[], &[]).len(), 1);
        assert_eq!(compare(&full, &[step("t", json!({}))], &[]).len(), 1);
    }

    #[test]
    fn ids_are_compared_by_their_order_of_appearance() {
        let ids = |ids: [&str; 3]| ids.map(|id| step("s", json!({ "MemberId": id })));
        assert!(compare(&ids(["a", "b", "a"]), &ids(["x", "y", "x"]), &[]).is_empty());
        assert_eq!(compare(&ids(["a", "b", "a"]), &ids(["x", "y", "y"]), &[]).len(), 1);
        assert_eq!(compare(&ids(["a", "b", "a"]), &ids(["x", "y", ""]), &[]).len(), 1, "none is not one");
        let knowing = |known: &str| {
            let unrecorded = vec![json!({ "MemberId": known })];
            [Step { unrecorded, ..step("s", json!({ "MemberId": "a" })) }]
        };
        assert!(compare(&knowing("a"), &knowing("a"), &[]).is_empty());
        assert_eq!(compare(&knowing("a"), &knowing("b"), &[]).len(), 1, "another than was known");
    }

    #[test]
    fn messages_and_recent_times_are_compared_by_whether_they_are_there() {
        let said =
            |message: Value, time: i64| [step("s", json!({ "ErrorMessage": message, "Timestamp": time }))];
        let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        assert!(compare(&said(json!("a"), now), &said(json!("b"), now - 9), &[]).is_empty());
        assert_eq!(compare(&said(json!("a"), now), &said(Value::Null, now), &[]).len(), 1);
        assert!(compare(&said(Value::Null, now), &said(json!("a"), now), &[]).is_empty(), "more is no harm");
        assert_eq!(compare(&said(json!("a"), now), &said(json!("a"), -1), &[]).len(), 1);
        assert_eq!(compare(&said(json!("a"), 100), &said(json!("a"), 101), &[]).len(), 1);
    }

    #[test]
    fn apis_are_compared_that_the_embedded_broker_has() {
        let apis = |keys: &[(i16, i16)]| {
            let keys = keys.iter().map(|(key, max)| json!({ "ApiKey": key, "MaxVersion": max }));
            [step("s", json!({ "ApiKeys": keys.collect::<Vec<_>>() }))]
        };
        assert!(compare(&apis(&[(0, 1), (1, 1)]), &apis(&[(1, 1)]), &[]).is_empty());
        assert_eq!(compare(&apis(&[(0, 1), (1, 1)]), &apis(&[(1, 2)]), &[]).len(), 1);
        assert_eq!(compare(&apis(&[(1, 1)]), &apis(&[(0, 1), (1, 1)]), &[]).len(), 1, "one too many");
    }

    #[test]
    fn a_known_difference_is_allowed_where_it_is_and_nowhere_else() {
        let known = Allowed { step: "s", field: "/A", why: "a test" };
        let (one, other) =
            ([step("s 1", json!({ "A": 1, "B": 1 }))], [step("s 1", json!({ "A": 2, "B": 1 }))]);
        assert!(compare(&one, &other, &[known]).is_empty());
        assert_eq!(compare(&one, &other, &[Allowed { step: "t", ..known }]).len(), 2, "and it is unused");
        assert_eq!(compare(&one, &one, &[known]).len(), 1, "it is unused");
    }
}
