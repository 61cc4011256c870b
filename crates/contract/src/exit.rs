use serde::{Deserialize, Serialize};

/// What a harness command's exit code means. 101 stays cargo's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was tested passed.
    Passed = 0,
    /// A check failed.
    CheckFailed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The system under test never became ready, or died.
    NotReady = 3,
    /// Nothing was tested.
    Skipped = 4,
    /// The environment or the configuration is unusable, or the machine is too slow
    /// for the run to mean anything.
    Environment = 5,
    /// Processes, ports or files were left behind.
    Leaked = 6,
    /// A threshold was crossed.
    Threshold = 99,
    /// The whole run took longer than its deadline.
    Deadline = 124,
    /// Interrupted by SIGINT.
    Interrupted = 130,
    /// Interrupted by SIGTERM.
    Terminated = 143,
}

/// The one-word result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Exit code 0.
    Passed,
    /// Exit codes 1, 6 and 99.
    Failed,
    /// Exit code 4.
    Skipped,
    /// Exit codes 2, 3, 5 and 124.
    Error,
    /// Exit codes 130 and 143.
    Interrupted,
}

impl ExitCode {
    /// Most telling first: of several codes that apply, a run exits with the first.
    pub const PRECEDENCE: &'static [Self] = &[
        Self::Interrupted,
        Self::Terminated,
        Self::Deadline,
        Self::Environment,
        Self::NotReady,
        Self::CheckFailed,
        Self::Leaked,
        Self::Threshold,
        Self::Skipped,
        Self::Passed,
    ];

    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The one of the two that a run with both exits with.
    pub fn worse(self, other: Self) -> Self {
        let rank = |code| Self::PRECEDENCE.iter().position(|&c| c == code);
        // A usage error ends a command before anything else can be found.
        match (rank(self), rank(other)) {
            (None, _) => self,
            (_, None) => other,
            (a, b) => {
                if a <= b {
                    self
                } else {
                    other
                }
            }
        }
    }

    /// The run's result in one word.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Passed => Verdict::Passed,
            Self::CheckFailed | Self::Leaked | Self::Threshold => Verdict::Failed,
            Self::Skipped => Verdict::Skipped,
            Self::Usage | Self::NotReady | Self::Environment | Self::Deadline => Verdict::Error,
            Self::Interrupted | Self::Terminated => Verdict::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_telling_code_wins() {
        assert_eq!(ExitCode::CheckFailed.worse(ExitCode::Environment), ExitCode::Environment);
        assert_eq!(ExitCode::Leaked.worse(ExitCode::Passed), ExitCode::Leaked);
        assert_eq!(ExitCode::Interrupted.worse(ExitCode::NotReady), ExitCode::Interrupted);
        assert_eq!(ExitCode::Skipped.worse(ExitCode::Threshold), ExitCode::Threshold);
    }
}
