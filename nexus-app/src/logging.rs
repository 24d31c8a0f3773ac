//! Logs: for people on a terminal, JSON elsewhere; always on the standard error.
//!
//! Lines never tear progress bars: each is written in one piece while the bars are suspended.

use std::io::{self, IsTerminal as _, Write as _};

use indicatif::MultiProgress;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, coloured or not.
    Human {
        /// Whether to colour.
        color: bool,
    },
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Human on a terminal, JSON elsewhere; `color` as the user wants it.
    #[must_use]
    pub fn of_stderr(color: bool) -> Self {
        if io::stderr().is_terminal() { Self::Human { color } } else { Self::Json }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("log filter {filter:?} (from {from}): {source}")]
    Filter {
        /// The filter.
        filter: String,
        /// Where it was written.
        from: &'static str,
        /// The parser's words.
        source: ParseError,
    },
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    Already(#[from] TryInitError),
}

/// The filter that counts: `--log`, else `NEXUS_LOG`, else the topology's `telemetry.log`.
///
/// # Errors
/// [`LogError::Filter`] with the place it was written in.
pub fn filter(
    option: Option<&str>,
    environment: Option<&str>,
    topology: &str,
) -> Result<EnvFilter, LogError> {
    let (filter, from) = match (option, environment) {
        (Some(filter), _) => (filter, "--log"),
        (None, Some(filter)) => (filter, "NEXUS_LOG"),
        (None, None) => (topology, "telemetry.log"),
    };
    let failed = |source| LogError::Filter { filter: filter.to_owned(), from, source };
    // ractor opens a span for every actor; nobody reads them, and each costs time with every message. ractor_cluster warns of every
    // connection that ends, of which we tell ourselves. Said first, so that a filter that names them has the last word.
    EnvFilter::builder().parse(format!("ractor=warn,ractor_cluster=error,{filter}")).map_err(failed)
}

/// The layer that writes the lines. For those who compose their own subscriber; others call [`init`].
pub fn layer<S>(format: LogFormat, writer: ProgressWriter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Human { color } => fmt::layer().with_ansi(color).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

/// Sets logging up for the whole process. Panics become log records, so that they are JSON too and do not tear progress bars.
///
/// # Errors
/// [`LogError::Already`] if it is called twice.
pub fn init(filter: EnvFilter, format: LogFormat, progress: &MultiProgress) -> Result<(), LogError> {
    let writer = ProgressWriter::new(progress.clone());
    tracing_subscriber::registry().with(filter).with(layer(format, writer)).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let message = text_of(panic.payload());
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or_default(), "panic: {message}");
    }));
    Ok(())
}

/// What `panic!` was given.
fn text_of(payload: &(dyn std::any::Any + Send)) -> &str {
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a value that is no text")
}

/// Writes to the standard error while progress bars stand still.
#[derive(Clone, Debug)]
pub struct ProgressWriter {
    progress: MultiProgress,
}

impl ProgressWriter {
    /// A writer that suspends `progress`.
    #[must_use]
    pub const fn new(progress: MultiProgress) -> Self {
        Self { progress }
    }
}

impl<'a> MakeWriter<'a> for ProgressWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { progress: &self.progress, bytes: Vec::new() }
    }
}

/// One log line, written when it is complete.
#[derive(Debug)]
pub struct Line<'a> {
    progress: &'a MultiProgress,
    bytes: Vec<u8>,
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            // Where logs cannot be written there is nobody to tell.
            self.progress.suspend(|| drop(io::stderr().lock().write_all(&self.bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the option beats the environment, which beats the topology; a bad one is named with its place.
    #[test]
    fn the_nearest_filter_counts() {
        assert_eq!(
            filter(Some("warn"), Some("debug"), "info").unwrap().to_string(),
            "ractor_cluster=error,ractor=warn,warn"
        );
        assert_eq!(
            filter(None, Some("debug"), "info").unwrap().to_string(),
            "ractor_cluster=error,ractor=warn,debug"
        );
        assert_eq!(
            filter(None, None, "info,nexus_app::feed=trace").unwrap().to_string(),
            "nexus_app::feed=trace,ractor_cluster=error,ractor=warn,info"
        );
        assert_eq!(
            filter(Some("ractor=trace"), None, "info").unwrap().to_string(),
            "ractor_cluster=error,ractor=trace"
        );
        let error = filter(None, Some("a=b=c"), "info").unwrap_err().to_string();
        assert!(error.contains("a=b=c") && error.contains("NEXUS_LOG"), "{error}");
    }

    /// Goal: both forms of panic are told in their words.
    #[test]
    fn panics_have_their_text() {
        assert_eq!(text_of(&"plain"), "plain");
        assert_eq!(text_of(&"formatted".to_owned()), "formatted");
        assert_eq!(text_of(&5), "a value that is no text");
    }

    /// Goal: a record written in pieces leaves in one.
    #[test]
    fn lines_are_whole() {
        let writer =
            ProgressWriter::new(MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()));
        let mut line = writer.make_writer();
        line.write_all(b"one ").unwrap();
        line.write_all(b"line").unwrap();
        assert_eq!(line.bytes, b"one line");
        line.bytes.clear();
    }
}
