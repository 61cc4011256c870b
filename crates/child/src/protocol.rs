//! What this crate and the `supervise` binary say to each other.
//!
//! Down: arguments ([`Launch`]), then one [`Command`] per line on the lifeline (its stdin).
//! Up: one [`Event`] per line, as JSON, on its stdout.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Exit, Signal};

/// One line of the status pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The program runs.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// The program could not be run; nothing else follows.
    SpawnFailed {
        /// What the system said.
        error: String,
        /// The kind of failure that decides the hint.
        reason: SpawnFailure,
    },
    /// The program ended. Its descendants may still be ending.
    Exited(Exit),
    /// Some descendants could not be killed; the supervisor gives up on them.
    Leftover {
        /// Their process ids.
        pids: Vec<u32>,
    },
}

impl Event {
    /// Writes the line, without its end.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Why a program could not be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnFailure {
    /// There is no such file.
    NotFound,
    /// The file may not be executed.
    NotExecutable,
    /// Anything else, such as too many processes.
    Other,
}

/// One line of the lifeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// TERM, grace, KILL.
    Stop,
    /// KILL at once.
    Kill,
    /// One signal to the program itself.
    Signal(Signal),
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stop => f.write_str("stop"),
            Self::Kill => f.write_str("kill"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        match line.split_once(' ') {
            None if line == "stop" => Ok(Self::Stop),
            None if line == "kill" => Ok(Self::Kill),
            Some(("signal", name)) => name.parse().map(Self::Signal),
            _ => Err(format!("`{line}` is not a known command")),
        }
    }
}

/// The arguments of the `supervise` binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Log file for the output of the program; none discards it.
    pub log: Option<PathBuf>,
    /// Size at which the log is rotated.
    pub log_cap: u64,
    /// Time between TERM and KILL.
    pub grace: Duration,
    /// Descriptors that the program inherits under the same numbers.
    pub keep_fds: Vec<i32>,
    /// The program.
    pub program: OsString,
    /// The arguments of the program.
    pub args: Vec<OsString>,
}

impl Launch {
    /// Writes the arguments.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut out: Vec<OsString> = Vec::new();
        if let Some(log) = &self.log {
            out.extend(["--log".into(), log.into()]);
        }
        out.extend(["--log-cap".into(), self.log_cap.to_string().into()]);
        out.extend(["--grace-ms".into(), self.grace.as_millis().to_string().into()]);
        for fd in &self.keep_fds {
            out.extend(["--keep-fd".into(), fd.to_string().into()]);
        }
        out.push("--".into());
        out.push(self.program.clone());
        out.extend(self.args.iter().cloned());
        out
    }

    /// Reads the arguments, without the name of the binary.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut launch = Self {
            log: None,
            log_cap: crate::spec::LOG_CAP,
            grace: crate::spec::GRACE,
            keep_fds: Vec::new(),
            program: OsString::new(),
            args: Vec::new(),
        };
        while let Some(flag) = args.next() {
            let flag = flag.to_string_lossy().into_owned();
            if flag == "--" {
                launch.program = args.next().ok_or("no program after `--`")?;
                launch.args = args.collect();
                return Ok(launch);
            }
            let value = args.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
            match flag.as_str() {
                "--log" => launch.log = Some(value.into()),
                "--log-cap" => launch.log_cap = number(&flag, &value)?,
                "--grace-ms" => launch.grace = Duration::from_millis(number(&flag, &value)?),
                "--keep-fd" => launch.keep_fds.push(number(&flag, &value)?),
                _ => return Err(format!("`{flag}` is not a known flag")),
            }
        }
        Err("no `--` with a program after it".to_owned())
    }
}

fn number<T: FromStr>(flag: &str, value: &std::ffi::OsStr) -> Result<T, String> {
    let text = value.to_string_lossy();
    text.parse().map_err(|_| format!("`{flag} {text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launch_survives_the_command_line() {
        let launch = Launch {
            log: Some("/tmp/a b.log".into()),
            log_cap: 1,
            grace: Duration::from_millis(1500),
            keep_fds: vec![3, 4],
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "--".into(), "--log".into()],
        };
        assert_eq!(Launch::from_args(launch.to_args()), Ok(launch));
    }

    #[test]
    fn bad_arguments_are_named() {
        let read = |args: &[&str]| Launch::from_args(args.iter().map(OsString::from)).unwrap_err();
        assert!(read(&[]).contains("--"));
        assert!(read(&["--"]).contains("no program"));
        assert!(read(&["--keep-fd", "x", "--", "a"]).contains("--keep-fd x"));
        assert!(read(&["--wat", "x"]).contains("--wat"));
    }

    #[test]
    fn commands_and_events_survive_the_wire() {
        for command in [Command::Stop, Command::Kill, Command::Signal(Signal::Stop)] {
            assert_eq!(command.to_string().parse(), Ok(command));
        }
        assert!("signal NOPE".parse::<Command>().is_err());
        let exited = Event::Exited(Exit { code: None, signal: Some(9) });
        let line = serde_json::to_string(&exited).unwrap();
        assert_eq!(line, r#"{"event":"exited","code":null,"signal":9}"#);
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), exited);
    }
}
