//! How a child ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a child ended: an exit code, or the signal that ended it.
///
/// Both are `None` when the supervisor itself was killed and nobody saw the child's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, where the child exited by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended the child.
    pub signal: Option<i32>,
}

impl Exit {
    /// Nobody saw the end: the supervisor was lost first.
    pub const UNSEEN: Self = Self { code: None, signal: None };

    /// Whether the child exited with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => match signal_name(signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            (None, None) => f.write_str("unseen end (its supervisor was killed first)"),
        }
    }
}

/// Names the signals that end processes and whose numbers are the same on every Unix.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        7 if cfg!(target_os = "linux") => "SIGBUS",
        31 if cfg!(target_os = "linux") => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_words() {
        assert_eq!(Exit { code: Some(3), signal: None }.to_string(), "exit code 3");
        assert_eq!(Exit { code: None, signal: Some(9) }.to_string(), "signal 9 (SIGKILL)");
        assert_eq!(Exit { code: None, signal: Some(64) }.to_string(), "signal 64");
        assert!(Exit::UNSEEN.to_string().contains("supervisor"));
    }
}
