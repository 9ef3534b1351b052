//! A script's conversation with one broker, and what is written down of it.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::line::{Line, Outcome};

/// How long a broker may take for what it does behind its answers: leaders, coordinators, deletions.
const PATIENCE: Duration = Duration::from_secs(30);
/// The connection of requests that name none.
const MAIN: &str = "main";

/// One recorded answer.
#[derive(Clone, Debug)]
pub struct Step {
    /// The script's name for it.
    pub name: String,
    /// The request, to be shown with a difference.
    pub request: String,
    /// What came.
    pub outcome: Outcome,
    /// What came since the step before without being recorded: ids are known from it.
    pub unrecorded: Vec<Value>,
}

/// A conversation. What goes wrong in it is kept, and the rest of the script then runs into nothing.
#[derive(Debug)]
pub struct Talk {
    broker: String,
    address: String,
    lines: BTreeMap<String, Line>,
    steps: Vec<Step>,
    unrecorded: Vec<Value>,
    failures: Vec<String>,
    broken: bool,
}

impl Talk {
    /// With the broker at `address`; `broker` is what messages call it.
    #[must_use]
    pub fn with(broker: &str, address: &str) -> Self {
        Self {
            broker: broker.to_owned(),
            address: address.to_owned(),
            lines: BTreeMap::new(),
            steps: Vec::new(),
            unrecorded: Vec::new(),
            failures: Vec::new(),
            broken: false,
        }
    }

    /// Sends a request and records the answer under a name. A closed connection is recorded too, and gives null.
    pub fn ask(&mut self, step: &str, api: &str, version: i16, body: Value) -> Value {
        self.ask_over(MAIN, step, api, version, body)
    }

    /// The same over a connection of its own name, which is made if it is not there.
    pub fn ask_over(&mut self, line: &str, step: &str, api: &str, version: i16, body: Value) -> Value {
        self.send(line, api, version, &body);
        self.receive(line, step, &format!("{api} v{version} {body}"))
    }

    /// The same, of an answer of which only a part is the script's own: `keep` takes the rest out of the record.
    pub fn ask_for(
        &mut self,
        step: &str,
        api: &str,
        version: i16,
        body: Value,
        keep: impl Fn(&mut Value),
    ) -> Value {
        self.ask(step, api, version, body);
        match self.steps.last_mut() {
            Some(Step { outcome: Outcome::Answer(answer), .. }) if !self.broken => {
                keep(answer);
                answer.clone()
            }
            _ => Value::Null,
        }
    }

    /// Sends a request whose answer is read later.
    pub fn send(&mut self, line: &str, api: &str, version: i16, body: &Value) {
        let sent = self.line(line).and_then(|line| line.send(api, version, body));
        self.note(sent);
    }

    /// Sends a request that has no answer.
    pub fn tell(&mut self, line: &str, api: &str, version: i16, body: &Value) {
        self.send(line, api, version, body);
        if let Ok(line) = self.line(line) {
            line.expect_silence();
        }
    }

    /// Sends bytes as a frame.
    pub fn send_frame(&mut self, line: &str, frame: &[u8]) {
        if let Ok(line) = self.line(line) {
            line.send_frame(frame);
        }
    }

    /// Reads an answer and records it.
    pub fn receive(&mut self, line: &str, step: &str, request: &str) -> Value {
        if self.broken {
            return Value::Null;
        }
        match self.line(line).and_then(Line::receive) {
            Ok(outcome) => {
                let value = match &outcome {
                    Outcome::Answer(value) => value.clone(),
                    Outcome::Closed => {
                        self.lines.remove(line);
                        Value::Null
                    }
                };
                let (name, request) = (step.to_owned(), request.to_owned());
                let unrecorded = std::mem::take(&mut self.unrecorded);
                self.steps.push(Step { name, request, outcome, unrecorded });
                value
            }
            Err(error) => {
                self.note(Err(format!("step `{step}`: {error}\n  of {request}")));
                Value::Null
            }
        }
    }

    /// Asks without recording: for what only prepares the script.
    pub fn quietly(&mut self, api: &str, version: i16, body: Value) -> Value {
        let answer = self.ask(&format!("quiet {api}"), api, version, body);
        if let Some(step) = self.steps.pop_if(|_| !self.broken) {
            self.unrecorded = step.unrecorded;
            self.unrecorded.push(answer.clone());
        }
        answer
    }

    /// Asks without recording until the answer is as wanted.
    pub fn until(
        &mut self,
        what: &str,
        api: &str,
        version: i16,
        body: &Value,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.quietly(api, version, body.clone());
            if self.broken || is_so(&answer) {
                return answer;
            }
            if Instant::now() > deadline {
                self.note(Err(format!("{what}: not so after {PATIENCE:?}, but {answer}")));
                return answer;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// What the newest recorded answer must have at a JSON pointer, on every broker.
    pub fn expect(&mut self, pointer: &str, expected: impl Into<Value>) {
        if self.broken {
            return;
        }
        let expected = expected.into();
        let (name, found) = match self.steps.last() {
            Some(Step { name, outcome: Outcome::Answer(answer), .. }) => (name, answer.pointer(pointer)),
            Some(Step { name, .. }) => (name, None),
            None => return,
        };
        if found != Some(&expected) {
            let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
            let failure = format!("step `{name}`: {pointer} is {found}, and the rules say {expected}");
            self.failures.push(failure);
        }
    }

    /// The newest recorded request must have had its connection closed.
    pub fn expect_closed(&mut self) {
        if let Some(Step { name, outcome: Outcome::Answer(answer), .. }) = self.steps.last() {
            let failure = format!("step `{name}`: answered, and the rules say closed: {answer}");
            self.failures.push(failure);
        }
    }

    /// What was recorded.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What went wrong, with the broker's name.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.failures.iter().map(|failure| format!("{}: {failure}", self.broker)).collect()
    }

    fn line(&mut self, name: &str) -> Result<&mut Line, String> {
        if !self.lines.contains_key(name) {
            let line = Line::connect(&self.address).map_err(|error| format!("{}: {error}", self.address))?;
            self.lines.insert(name.to_owned(), line);
        }
        self.lines.get_mut(name).ok_or_else(|| "no connection".to_owned())
    }

    /// Ends the script: what it stands on did not come about.
    pub fn fail(&mut self, failure: String) {
        self.note(Err(failure));
    }

    fn note(&mut self, result: Result<(), String>) {
        if let Err(failure) = result {
            self.failures.push(failure);
            self.broken = true;
        }
    }
}
