//! The lines on the standard output.

use std::{
    io::{self, BufWriter, Write},
    process,
    thread::{self, JoinHandle},
    time::UNIX_EPOCH,
};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// Lines that wait for whoever reads the output; who prints more waits with them.
const WAITING: usize = 1024;

/// A way to print. Clones print into the same output.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    queue: mpsc::Sender<Item>,
}

#[derive(Debug)]
enum Item {
    Line(String),
    /// Answered when all lines before it are out.
    Flush(oneshot::Sender<()>),
}

/// The thread that writes: a reader who is slow must not stop the client's tasks.
#[derive(Debug)]
pub(crate) struct Writer(JoinHandle<()>);

impl Writer {
    /// Waits until everything is written; all [`Lines`] must be gone.
    pub(crate) fn join(self) {
        let _ = self.0.join();
    }
}

impl Lines {
    pub(crate) fn start() -> (Self, Writer) {
        let (queue, items) = mpsc::channel(WAITING);
        let writer = thread::spawn(move || {
            if let Err(error) = write(items, BufWriter::new(io::stdout().lock())) {
                // Whoever was to check this run is gone.
                tracing::error!("the standard output cannot be written: {error}");
                process::exit(1);
            }
        });
        (Self { queue }, Writer(writer))
    }

    /// Prints a line with these fields, which must be an object.
    pub(crate) async fn print(&self, name: &str, fields: &Value) {
        let _ = self.queue.send(Item::Line(line(name, fields))).await;
    }

    /// As [`print`](Self::print), from code that cannot wait; the runtime must have several threads.
    pub(crate) fn print_blocking(&self, name: &str, fields: &Value) {
        let item = Item::Line(line(name, fields));
        if let Err(mpsc::error::TrySendError::Full(item)) = self.queue.try_send(item) {
            let _ = tokio::task::block_in_place(|| self.queue.blocking_send(item));
        }
    }

    /// Returns when what was printed before is out: a commit must not be ahead of it.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Item::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Time and name first, as people read them.
fn line(name: &str, fields: &Value) -> String {
    let timestamp = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let fields = fields.to_string();
    let fields = fields.trim_start_matches('{');
    let comma = if fields == "}" { "" } else { "," };
    format!(r#"{{"timestamp":{timestamp},"name":"{name}"{comma}{fields}"#)
}

/// Writes what comes, and flushes as soon as nothing more is there.
fn write(mut items: mpsc::Receiver<Item>, mut output: impl Write) -> io::Result<()> {
    while let Some(first) = items.blocking_recv() {
        let mut flushed = Vec::new();
        let mut next = Some(first);
        // As many as fit the queue, so that a producer that never pauses is flushed too.
        for _ in 0..WAITING {
            match next {
                Some(Item::Line(line)) => writeln!(output, "{line}")?,
                Some(Item::Flush(done)) => flushed.push(done),
                None => break,
            }
            next = items.try_recv().ok();
        }
        if let Some(Item::Line(line)) = &next {
            writeln!(output, "{line}")?;
        }
        output.flush()?;
        if let Some(Item::Flush(done)) = next {
            flushed.push(done);
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_an_object_that_begins_with_time_and_name() {
        let text = line("record_data", &json!({"key": null, "value": "a\"b\n"}));
        assert!(text.starts_with(r#"{"timestamp":"#) && text.contains(r#","name":"record_data","#), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["value"], "a\"b\n");
        let bare: Value = serde_json::from_str(&line("startup_complete", &json!({}))).unwrap();
        assert_eq!(bare["name"], "startup_complete");
    }

    #[test]
    fn everything_is_written_in_order() {
        let (queue, items) = mpsc::channel(3 * WAITING);
        let (done, flushed) = oneshot::channel();
        for number in 0..2 * WAITING {
            queue.try_send(Item::Line(number.to_string())).unwrap();
        }
        queue.try_send(Item::Flush(done)).unwrap();
        drop(queue);
        let mut output = Vec::new();
        write(items, &mut output).unwrap();
        let expected: String = (0..2 * WAITING).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(output).unwrap(), expected);
        flushed.blocking_recv().unwrap();
    }
}
