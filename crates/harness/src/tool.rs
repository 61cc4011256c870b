//! Commands whose work a tool does: a process of its own that tells what it finds, line by line,
//! while the run, its files and its exit code stay with the harness.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::envelope::{Check, CheckStatus, Threshold};
use crate::event::Event;
use crate::failure::Failure;
use crate::run::Run;

/// A line of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// Whole lines for whoever reads along.
    Text {
        /// The lines.
        text: String,
    },
    /// Something that is good to know.
    Note {
        /// What.
        text: String,
    },
    /// Something that may become a problem.
    Warning {
        /// What.
        text: String,
    },
    /// A check has its answer.
    Check(Check),
    /// A figure.
    Metric {
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// How long the system was under test, on its own timeline.
    Simulated {
        /// In seconds.
        simulated_s: f64,
    },
    /// A threshold was looked at.
    Threshold(Threshold),
    /// A file lies in the run folder.
    Artifact {
        /// What it is.
        name: String,
        /// Where it is, from the run folder.
        path: String,
    },
    /// The run cannot pass.
    Failure {
        /// The stable code.
        code: ErrorCode,
        /// What happened.
        message: String,
        /// What proves it.
        evidence: Vec<String>,
        /// What to do, where the registry's words are too general.
        hint: Option<String>,
    },
    /// That was all. A tool that ends without it broke off.
    Done,
}

impl Told {
    /// A failure.
    pub fn failure(failure: &Failure) -> Self {
        let Failure { code, message, evidence, .. } = failure.clone();
        Self::Failure { code, message, evidence, hint: Some(failure.advice().to_owned()) }
    }

    /// As it is written.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("what is told is plain data") + "\n"
    }
}

impl Run {
    /// Records what a tool told; whether that was all.
    pub fn take(&self, told: Told) -> bool {
        match told {
            Told::Text { text } => self.bus().emit(Event::Text { text }),
            Told::Note { text } => self.bus().emit(Event::Note { text }),
            Told::Warning { text } => self.bus().emit(Event::Warning { text }),
            Told::Check(check) => self.take_check(check),
            Told::Metric { name, value } => self.metric(&name, value),
            Told::Simulated { simulated_s } => {
                self.simulated(Duration::try_from_secs_f64(simulated_s).unwrap_or_default());
            }
            Told::Threshold(threshold) => self.threshold(threshold),
            Told::Artifact { name, path } => self.artifact(&name, &path),
            Told::Failure { code, message, evidence, hint } => {
                let failure = Failure::new(code, message).evidence(evidence);
                self.error(match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
            }
            Told::Done => return true,
        }
        false
    }

    fn take_check(&self, check: Check) {
        let Check { name, status, duration_ms, detail, code, hint } = check.clone();
        let took = Duration::from_secs_f64(duration_ms.max(0.0) / 1e3);
        // Away from its line it has to say what it is about.
        let why = |code: ErrorCode, message: String| {
            let failure = Failure::new(code, message);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        };
        match status {
            CheckStatus::Passed => self.pass(&name, took, detail),
            CheckStatus::Failed => {
                let code = code.unwrap_or(ErrorCode::CheckFailed);
                self.record(Check { code: Some(code), ..check });
                self.error(why(code, format!("{name}: {detail}")));
            }
            CheckStatus::Skipped => match code {
                Some(code) => self.skip_for(&name, took, why(code, detail)),
                None => self.skip(&name, took, detail),
            },
            CheckStatus::NotRun => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Number;

    use super::*;
    use crate::event::Bus;
    use crate::run::Identity;
    use crate::run_dir::RunDir;

    fn run(base: &std::path::Path) -> Run {
        let identity = Identity {
            command: "recordings:analyze",
            run_id: "7f3a".into(),
            seed: 1,
            again: String::new(),
        };
        let dir = RunDir::create(base, "7f3a").expect("a run folder");
        Run::new(identity, Bus::new(), dir, ["accuracy"])
    }

    fn check(status: CheckStatus) -> Told {
        Told::Check(Check::new("accuracy", status, Duration::ZERO, "12 ms"))
    }

    fn exit(told: &[Told]) -> u8 {
        let base = tempfile::tempdir().expect("a folder");
        let run = run(base.path());
        for told in told {
            let line = told.to_line();
            assert!(!run.take(serde_json::from_str(&line).expect("a line")), "{line}");
        }
        assert!(run.take(Told::Done));
        run.finish().exit_code
    }

    #[test]
    fn what_a_tool_tells_decides_the_exit_code() {
        let threshold = |passed| {
            Told::Threshold(Threshold {
                expr: "p(95)<600".into(),
                metric: "p95_ms".into(),
                observed: Number::from(587),
                passed,
            })
        };
        let passed = check(CheckStatus::Passed);
        assert_eq!(exit(&[passed.clone(), threshold(true)]), 0);
        assert_eq!(exit(&[passed.clone(), threshold(false)]), 99);
        assert_eq!(exit(&[check(CheckStatus::Failed), threshold(false)]), 1);
        assert_eq!(exit(&[check(CheckStatus::Skipped)]), 4);
        let failure = Told::failure(&Failure::environment("no disk"));
        assert_eq!(exit(&[passed, failure]), 5);
    }
}
