//! The terminal, as a consumer of events.
//!
//! Grammar of a line: a status word right-aligned in 12 columns, the subject, the time in brackets,
//! then what there is to say. After the ruler come one Summary line and the table.

mod line;
mod live;
mod style;
mod summary;

use std::io::{self, Write};
use std::time::Duration;

pub use style::{Style, Tone};

use self::live::Live;
use crate::event::{Consumer, Event, Progress, Stamped};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// The verdict and what is wrong.
    Quiet,
    /// Every step.
    #[default]
    Normal,
    /// Every figure too.
    Verbose,
}

/// Between two progress lines where nobody looks at a terminal.
const PACE: Duration = Duration::from_secs(1);

/// Prints a run: what comes of it on `out`, everything else on `talk`.
pub struct Terminal<O, T> {
    out: O,
    talk: T,
    style: Style,
    verbosity: Verbosity,
    live: Option<Live>,
    /// The table comes before its ruler, and is shown after it.
    table: Option<String>,
    last_progress_ms: f64,
}

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What comes of the run.
    Out,
    /// Everything else.
    Talk,
}

impl<O: Write, T: Write> Terminal<O, T> {
    /// A printer in this style. With `live`, progress is a bar that moves; without, lines.
    pub fn new(out: O, talk: T, style: Style, verbosity: Verbosity, live: bool) -> Self {
        let live = (live && verbosity > Verbosity::Quiet).then(|| Live::new(style));
        let last_progress_ms = f64::NEG_INFINITY;
        Self { out, talk, style, verbosity, live, table: None, last_progress_ms }
    }

    fn write(&mut self, stream: Stream, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let writer: &mut dyn Write = match stream {
            Stream::Out => &mut self.out,
            Stream::Talk => &mut self.talk,
        };
        let mut put = || writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
        let written = match &self.live {
            Some(live) => live.aside(put),
            None => put(),
        };
        match written {
            // One of the two has no reader any more; the other may.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    fn progress(&mut self, at_ms: f64, progress: &Progress) -> io::Result<()> {
        if let Some(live) = &mut self.live {
            live.show(progress);
            return Ok(());
        }
        let due = at_ms - self.last_progress_ms >= PACE.as_secs_f64() * 1e3;
        if !due || self.verbosity == Verbosity::Quiet {
            return Ok(());
        }
        self.last_progress_ms = at_ms;
        let line = line::progress(self.style, at_ms, progress);
        self.write(Stream::Talk, &line)
    }
}

impl<O: Write + Send, T: Write + Send> Consumer for Terminal<O, T> {
    fn take(&mut self, event: &Stamped) -> io::Result<()> {
        match &event.event {
            Event::Progress(progress) => self.progress(event.at_ms, progress),
            Event::Table { rows, figures } => {
                self.table = Some(summary::table(self.style, rows, figures));
                Ok(())
            }
            Event::RunFinished { envelope, folder } => {
                if let Some(live) = self.live.take() {
                    live.clear();
                }
                let table = self.table.take().unwrap_or_default();
                let folder = folder.as_deref();
                let text = summary::summary(self.style, self.verbosity, envelope, &table, folder);
                self.write(Stream::Out, &text)
            }
            other => {
                if matches!(other, Event::Stopped { .. })
                    && let Some(live) = self.live.take()
                {
                    // Nothing moves any more.
                    live.clear();
                }
                let (stream, text) = line::of(self.style, self.verbosity, event.at_ms, other);
                self.write(stream, &text)
            }
        }
    }
}

#[cfg(test)]
mod tests;
