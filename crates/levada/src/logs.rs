//! Logs of a job program, to standard error.

use std::io::{self, IsTerminal};

use levada_runtime::SPAN_TARGET;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Result};

/// What is logged if neither `--log` nor `RUST_LOG` says so.
const DEFAULT: &str = "warn";

/// Starts logging. A program that has its own subscriber keeps it.
pub(crate) fn start(level: Option<&str>) -> Result {
    let from_environment = || std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = level
        .map(str::to_owned)
        .or_else(from_environment)
        .unwrap_or_else(|| DEFAULT.to_owned());
    let subscriber = subscriber(&filter, io::stderr, io::stderr().is_terminal())?;
    // An error means that the program has set its own before.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Writes what passes a filter as lines of text, each with its thread and, in a task, its operator and subtask.
fn subscriber<W>(filter: &str, writer: W, ansi: bool) -> Result<impl Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wrong = |error| Error::new(format!("the log filter `{filter}` is wrong: {error}"));
    let parsed = EnvFilter::try_new(filter).map_err(wrong)?;
    // The spans of the tasks pass whatever the filter says of other targets: a line of the program's own then names its
    // operator under `--log my_program=info` too. Their target has no events, so this logs nothing.
    let spans = format!("{SPAN_TARGET}=error").parse().map_err(wrong)?;
    Ok(tracing_subscriber::fmt()
        .with_env_filter(parsed.add_directive(spans))
        .with_writer(writer)
        .with_ansi(ansi)
        .with_thread_names(true)
        .finish())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a filter leaves of an event in a task.
    fn logged(filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(filter, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span =
                tracing::error_span!(target: SPAN_TARGET, "task", operator = "words", subtask = 2);
            let _entered = span.enter();
            tracing::info!(target: "my_program", "a line");
            tracing::error!(target: "another", "no concern of ours");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_names_its_operator_under_every_filter() {
        for filter in ["info", "my_program=info", "off,my_program=debug"] {
            let text = logged(filter);
            let line = text.lines().find(|line| line.contains("a line"));
            let line = line.unwrap_or_else(|| panic!("{filter}: {text}"));
            assert!(
                line.contains("task{operator=\"words\" subtask=2}"),
                "{filter}: {line}"
            );
            let thread = std::thread::current();
            assert!(line.contains(thread.name().unwrap()), "{filter}: {line}");
        }
    }

    #[test]
    fn what_a_filter_keeps_out_stays_out() {
        assert!(!logged("warn").contains("a line"));
        assert!(!logged("my_program=info").contains("no concern"));
        assert_eq!(logged("off"), "");
    }
}
