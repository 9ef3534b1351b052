//! The text in which Prometheus reads metrics (version 0.0.4 of its format).

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS, Reading};

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Text {
    page: String,
}

/// A name and a value.
pub(crate) type Label<'a> = (&'static str, &'a str);

impl Text {
    /// Begins a metric; its samples follow.
    pub(crate) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A sample.
    pub(crate) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        let labels = Labels(labels, None);
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// A metric with its samples.
    pub(crate) fn samples<'a, V: Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        samples: impl IntoIterator<Item = (Vec<Label<'a>>, V)>,
    ) {
        self.metric(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    /// The samples of a histogram.
    pub(crate) fn histogram(&mut self, name: &str, labels: &[Label<'_>], reading: &Reading) {
        for (bound, count) in BOUNDS.iter().zip(reading.up_to) {
            let bound = bound.to_string();
            let labels = Labels(labels, Some(&bound));
            self.line(format_args!("{name}_bucket{labels} {count}"));
        }
        let all = Labels(labels, Some("+Inf"));
        self.line(format_args!("{name}_bucket{all} {}", reading.count));
        let labels = Labels(labels, None);
        self.line(format_args!("{name}_sum{labels} {}", reading.seconds));
        self.line(format_args!("{name}_count{labels} {}", reading.count));
    }

    pub(crate) fn into_page(self) -> String {
        self.page
    }

    fn line(&mut self, line: impl Display) {
        // Writing into a string does not fail.
        let _written = writeln!(self.page, "{line}");
    }
}

/// Labels, the bound of a bucket included.
struct Labels<'a>(&'a [Label<'a>], Option<&'a str>);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.1.map(|bound| ("le", bound));
        for (index, (name, value)) in self.0.iter().copied().chain(bound).enumerate() {
            f.write_str(if index == 0 { "{" } else { "," })?;
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
        }
        if self.0.is_empty() && bound.is_none() { Ok(()) } else { f.write_char('}') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.metric("up", "gauge", "Whether it is up.");
        text.sample("up", &[], 1);
        text.sample("up", &[("a", "x"), ("b", "\"\\\n")], 0.5);
        let expected =
            "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\nup{a=\"x\",b=\"\\\"\\\\\\n\"} 0.5\n";
        assert_eq!(text.into_page(), expected);
    }

    #[test]
    fn a_histogram_has_buckets_a_sum_and_a_count() {
        let mut text = Text::default();
        let mut reading = Reading { count: 3, seconds: 11.5, ..Reading::default() };
        reading.up_to[13] = 2;
        text.histogram("took", &[("h", "x")], &reading);
        let page = text.into_page();
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines.len(), 17);
        assert_eq!(lines[0], "took_bucket{h=\"x\",le=\"0.005\"} 0");
        assert_eq!(lines[13], "took_bucket{h=\"x\",le=\"10\"} 2");
        assert_eq!(
            lines[14..],
            ["took_bucket{h=\"x\",le=\"+Inf\"} 3", "took_sum{h=\"x\"} 11.5", "took_count{h=\"x\"} 3"]
        );
    }
}
