//! What a run does to its own stack on purpose, and when: the words of the command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use dialtone_contract::CancelMode;

use crate::span::{self, Unit};

/// A moment of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When this share of the entries has ended, in percent, 1 to 99.
    Share(u32),
    /// This long after the trigger, in product time.
    After(Duration),
}

impl Moment {
    /// Whether it has come, where `ended` of `total` entries have ended and so much product time
    /// has passed since the trigger.
    pub fn has_come(self, ended: u32, total: u32, since: Duration) -> bool {
        match self {
            Self::Share(percent) => u64::from(ended) * 100 >= u64::from(percent) * u64::from(total),
            Self::After(span) => since >= span,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a share of the entries from 1% to 99%, or a product time \
                                since the trigger such as 90s or 2m";
        let moment = match text.strip_suffix('%') {
            Some(number) => {
                let percent = number.parse().ok().filter(|percent| (1..=99).contains(percent));
                percent.map(Self::Share)
            }
            // A bare number could be either.
            None if text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
                span::parse(text, Unit::Seconds).ok().map(Self::After)
            }
            None => None,
        };
        moment.ok_or_else(|| EXPECTED.to_owned())
    }
}

impl fmt::Display for Moment {
    /// As the command line takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{percent}%"),
            Self::After(span) if span.subsec_millis() == 0 => write!(f, "{}s", span.as_secs()),
            Self::After(span) => write!(f, "{}ms", span.as_millis()),
        }
    }
}

/// A service that can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The platform.
    Dialtone,
    /// The worker that simulates callees.
    TestWorker,
    /// The LiveKit-compatible server.
    LivekitDev,
}

impl Victim {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Dialtone, Self::TestWorker, Self::LivekitDev];

    /// Its name in the stack.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dialtone => "dialtone",
            Self::TestWorker => "test-worker",
            Self::LivekitDev => "livekit-dev",
        }
    }
}

impl FromStr for Victim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "server" | "dialtone" => Ok(Self::Dialtone),
            "worker" | "test-worker" => Ok(Self::TestWorker),
            "livekit" | "livekit-dev" => Ok(Self::LivekitDev),
            _ => Err("expected server (dialtone), worker (test-worker) or livekit (livekit-dev)"
                .to_owned()),
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SIGKILL of a service at a moment; it comes back on its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who is killed.
    pub victim: Victim,
    /// When.
    pub at: Moment,
}

impl FromStr for Kill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (victim, at) = text
            .split_once('@')
            .ok_or_else(|| "expected WHO@WHEN, such as worker@40% or server@90s".to_owned())?;
        Ok(Self { victim: victim.parse()?, at: at.parse()? })
    }
}

impl fmt::Display for Kill {
    /// As the command line takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.victim, self.at)
    }
}

/// A cancel of the batch at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// When.
    pub at: Moment,
    /// What it does to calls under way.
    pub mode: CancelMode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_reads_as_it_is_written() {
        for (text, same) in [
            ("server@40%", "dialtone@40%"),
            ("worker@90s", "test-worker@90s"),
            ("livekit@2m", "livekit-dev@120s"),
            ("dialtone@1%", "dialtone@1%"),
            ("test-worker@99%", "test-worker@99%"),
            ("livekit-dev@1500ms", "livekit-dev@1500ms"),
        ] {
            let kill: Kill = text.parse().expect(text);
            assert_eq!(kill.to_string(), same);
            assert_eq!(same.parse(), Ok(kill));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "server",
            "server@",
            "@40%",
            "nobody@4",
            "server@40",
            "server@0%",
            "server@100%",
            "server@140%",
            "server@-1%",
            "server@0s",
            "server@soon",
            "server@4x",
            "server@%",
            "server@40%@worker",
        ] {
            assert!(bad.parse::<Kill>().is_err(), "{bad} was read");
        }
    }

    #[test]
    fn a_share_has_come_when_so_many_have_ended() {
        let share = Moment::Share(40);
        assert!(!share.has_come(3, 10, Duration::MAX));
        assert!(share.has_come(4, 10, Duration::ZERO));
        let after = Moment::After(Duration::from_secs(90));
        assert!(!after.has_come(10, 10, Duration::from_secs(89)));
        assert!(after.has_come(0, 10, Duration::from_secs(90)));
    }
}
