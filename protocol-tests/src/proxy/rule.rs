//! Conditions, and reactions to the requests that meet them.

use std::{
    ops,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the proxy knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The node that it is for.
    pub node: i32,
    /// What is asked.
    pub api: i16,
    /// In which version.
    pub version: i16,
    /// What its answer will be recognised by.
    pub correlation: i32,
    /// The number of its connection, of all that the proxy has accepted, counted from 1.
    pub connection: u64,
    /// Its number in its connection, counted from 1.
    pub number: u64,
}

/// Which requests a rule is about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// All.
    Any,
    /// Those to this node.
    Node(i32),
    /// Those with this API key.
    Api(i16),
    /// Those of this connection, counted from 1 over all nodes.
    Connection(u64),
    /// The one with this number in its connection, counted from 1.
    Request(u64),
    /// Those that a draw with this probability hits. The proxy's seed decides.
    Chance(f64),
    /// Those that meet both.
    And(Box<Self>, Box<Self>),
    /// Those that meet one at least.
    Or(Box<Self>, Box<Self>),
    /// Those that do not meet it.
    Not(Box<Self>),
}

impl Condition {
    /// Both must be met. The second is not looked at, and draws nothing, where the first is not met.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    /// One must be met. The second is not looked at where the first is met.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    fn is_met(&self, request: &Request, random: &mut Random) -> bool {
        match self {
            Self::Any => true,
            Self::Node(node) => request.node == *node,
            Self::Api(api) => request.api == *api,
            Self::Connection(connection) => request.connection == *connection,
            Self::Request(number) => request.number == *number,
            Self::Chance(probability) => random.fraction() < *probability,
            Self::And(left, right) => left.is_met(request, random) && right.is_met(request, random),
            Self::Or(left, right) => left.is_met(request, random) || right.is_met(request, random),
            Self::Not(condition) => !condition.is_met(request, random),
        }
    }
}

impl ops::Not for Condition {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// What happens to a request, to its answer, or to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction {
    /// The request goes on so much later. Requests behind it keep their order, and are not delayed further.
    Delay(Duration),
    /// The connection passes at most so many bytes per second from now on, in each direction.
    Bandwidth(u64),
    /// Nothing passes on the connection any more, in neither direction, and it stays open.
    Stall,
    /// The connection is closed, and the request is not passed on.
    Cut,
    /// Half of the request is passed on, then the connection is reset.
    ResetInRequest,
    /// The request is passed on whole, then the connection is reset: the broker may carry it out or not.
    ResetAfterRequest,
    /// The request is passed on, and half of its answer; then the connection is reset.
    ResetInAnswer,
    /// The broker carries the request out, and its answer is dropped; the connection stays open.
    DropAnswer,
    /// The broker carries the request out, and the connection is reset instead of an answer.
    ResetInsteadOfAnswer,
    /// A byte in the middle of the request is changed. Where its length or head would be hit, it is left alone.
    CorruptRequest,
    /// A byte in the middle of its answer is changed, likewise.
    CorruptAnswer,
}

/// What to do to which requests.
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing until the proxy is given it"]
pub struct Rule {
    condition: Condition,
    reaction: Reaction,
    skip: u64,
    times: u64,
}

impl Rule {
    /// A rule for all requests that meet the condition.
    pub fn new(condition: Condition, reaction: Reaction) -> Self {
        Self { condition, reaction, skip: 0, times: u64::MAX }
    }

    /// Lets the first requests that meet the condition pass. Default: none.
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Ends after so many hits. Default: never.
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }
}

/// How often a rule has hit.
#[derive(Clone, Debug)]
pub struct Hits(Arc<AtomicU64>);

impl Hits {
    /// Until now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The rules in force, in the order in which they came.
#[derive(Debug)]
pub(super) struct Rules {
    active: Vec<Active>,
    random: Random,
}

#[derive(Debug)]
struct Active {
    rule: Rule,
    met: u64,
    hits: Arc<AtomicU64>,
}

impl Rules {
    pub(super) fn new(seed: u64) -> Self {
        Self { active: Vec::new(), random: Random(seed) }
    }

    pub(super) fn add(&mut self, rule: Rule) -> Hits {
        let hits = Arc::new(AtomicU64::new(0));
        self.active.push(Active { rule, met: 0, hits: Arc::clone(&hits) });
        Hits(hits)
    }

    pub(super) fn clear(&mut self) {
        self.active.clear();
    }

    /// The reactions of the rules that hit a request; each counts it.
    pub(super) fn hit(&mut self, request: &Request) -> Vec<Reaction> {
        let mut reactions = Vec::new();
        for active in &mut self.active {
            if !active.rule.condition.is_met(request, &mut self.random) {
                continue;
            }
            active.met += 1;
            if active.met > active.rule.skip && active.hits.load(Ordering::Relaxed) < active.rule.times {
                active.hits.fetch_add(1, Ordering::Relaxed);
                reactions.push(active.rule.reaction);
            }
        }
        reactions
    }
}

/// SplitMix64: the same seed draws the same.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// From 0 up to, not including, 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(node: i32, api: i16, connection: u64, number: u64) -> Request {
        Request { node, api, version: 9, correlation: 1, connection, number }
    }

    fn met(condition: &Condition, request: &Request) -> bool {
        condition.is_met(request, &mut Random(1))
    }

    #[test]
    fn conditions_look_at_what_they_are_about() {
        let produce = request(2, 0, 3, 4);
        for (condition, expected) in [
            (Condition::Any, true),
            (Condition::Node(2), true),
            (Condition::Node(1), false),
            (Condition::Api(0), true),
            (Condition::Api(1), false),
            (Condition::Connection(3), true),
            (Condition::Connection(4), false),
            (Condition::Request(4), true),
            (Condition::Request(3), false),
            (Condition::Api(0).and(Condition::Node(1)), false),
            (Condition::Api(0).or(Condition::Node(1)), true),
            (!Condition::Api(0), false),
            (!(Condition::Node(1).and(Condition::Any)), true),
            (Condition::Chance(1.0), true),
            (Condition::Chance(0.0), false),
        ] {
            assert_eq!(met(&condition, &produce), expected, "{condition:?}");
        }
    }

    #[test]
    fn a_rule_skips_and_ends() {
        let mut rules = Rules::new(0);
        let hits = rules.add(Rule::new(Condition::Api(0), Reaction::Cut).skip(1).times(2));
        let hit = |rules: &mut Rules, api| rules.hit(&request(1, api, 1, 1));
        let expected = [vec![], vec![Reaction::Cut], vec![Reaction::Cut], vec![]];
        for reactions in expected {
            assert_eq!(hit(&mut rules, 1), [], "another request neither counts nor is hit");
            assert_eq!(hit(&mut rules, 0), reactions);
        }
        assert_eq!(hits.count(), 2);
        rules.clear();
        assert_eq!(hit(&mut rules, 0), []);
    }

    #[test]
    fn several_rules_react_in_their_order() {
        let mut rules = Rules::new(0);
        let delay = Reaction::Delay(Duration::from_millis(1));
        rules.add(Rule::new(Condition::Any, delay));
        rules.add(Rule::new(Condition::Any, Reaction::Stall));
        assert_eq!(rules.hit(&request(1, 1, 1, 1)), [delay, Reaction::Stall]);
    }

    #[test]
    fn chance_is_the_seeds_and_about_right() {
        let draw = |seed| {
            let mut rules = Rules::new(seed);
            rules.add(Rule::new(Condition::Chance(0.25), Reaction::Cut));
            (0..1_000).map(|number| rules.hit(&request(1, 0, 1, number)).len()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let hits: usize = draw(7).iter().sum();
        assert!((150..350).contains(&hits), "{hits} of 1000");
    }
}
