//! What the program is asked for.

use std::str::FromStr;

use crate::report::Limits;
use crate::stage::Broker;
use crate::workload::Workload;

const USAGE: &str = "peers [WORKLOAD…] [--null | --kafka VERSION | --broker HOST:PORT] [--records N] [--rounds N] \
                     [--defaults] [--limit RATIO] [--rate RECORDS_PER_SECOND] [--memory MIB]";

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) broker: Broker,
    /// As many as suit the workload, unless that is said.
    pub(crate) records: Option<usize>,
    pub(crate) rounds: usize,
    /// Whether librdkafka keeps its own settings for batches and buffers.
    pub(crate) defaults: bool,
    pub(crate) limits: Limits,
}

impl Arguments {
    pub(crate) fn parse(arguments: Vec<String>) -> Result<Self, String> {
        let mut parsed = Self {
            workloads: Vec::new(),
            broker: Broker::Null,
            records: None,
            rounds: 3,
            defaults: false,
            limits: Limits::default(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--null" => parsed.broker = Broker::Null,
                "--kafka" => parsed.broker = Broker::Kafka(value()?.parse()?),
                "--broker" => parsed.broker = Broker::At(value()?),
                "--records" => parsed.records = Some(number(&name, &value()?)?),
                "--rounds" => parsed.rounds = number(&name, &value()?)?,
                "--defaults" => parsed.defaults = true,
                "--limit" => parsed.limits.ratio = Some(number(&name, &value()?)?),
                "--rate" => parsed.limits.rate = Some(number(&name, &value()?)?),
                "--memory" => parsed.limits.memory_mib = Some(number(&name, &value()?)?),
                option if option.starts_with('-') => return Err(format!("unknown option {name}\n{USAGE}")),
                workload => parsed.workloads.push(Workload::named(workload)?),
            }
        }
        if parsed.workloads.is_empty() {
            parsed.workloads.push(Workload::named("plain")?);
        }
        if parsed.rounds == 0 || parsed.records == Some(0) {
            return Err("without rounds or records there is nothing to measure".to_owned());
        }
        Ok(parsed)
    }
}

fn number<N: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|error| format!("{name} {value}: {error}"))
}
