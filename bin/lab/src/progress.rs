use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal is told.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a log is told, at most.
const LINE: Duration = Duration::from_secs(2);
/// Columns of the status word.
const STATUS: usize = 12;

/// A line of talk: a status word and what it is about.
pub fn say(status: &str, text: &str) {
    // Talk that nobody reads is no failure.
    let _ = writeln!(std::io::stderr(), "{status:>STATUS$} {text}");
}

/// Bytes in millions.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// How far a transfer is: one line that is redrawn on a terminal, else a line now and then.
pub struct Progress {
    what: String,
    total: Option<u64>,
    terminal: bool,
    told: Instant,
    drawn: bool,
}

impl Progress {
    /// For `what`, of `total` bytes where that is known.
    pub fn new(what: &str, total: Option<u64>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { what: what.to_owned(), total, terminal, told: Instant::now(), drawn: false }
    }

    /// So many bytes have come.
    pub fn at(&mut self, bytes: u64) {
        let pause = if self.terminal { REDRAW } else { LINE };
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let of = self.total.map_or(String::new(), |total| format!(" of {}", megabytes(total)));
        let text = format!("{} {}{of}", self.what, megabytes(bytes));
        if self.terminal {
            self.drawn = true;
            let _ = write!(std::io::stderr(), "\r\x1b[K{:>STATUS$} {text}", "Fetching");
        } else {
            say("Fetching", &text);
        }
    }

    /// Takes the line away, so that something else can be said.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
