//! Whether the platform bore what agents did wrong by script, as the agents themselves saw it: rows
//! do not tell a callback that was heard twice from one that came once.

use std::time::Duration;

use dialtone_contract::{ErrorCode, PlannedOutcome, limits};
use tokio::time::{Instant, sleep};

use super::judge::Asked;
use crate::failure::Failure;
use crate::http::Http;
use crate::prom::Samples;
use crate::stack::Member;

/// How long the metrics may take.
const METRICS: Duration = Duration::from_secs(5);
/// Between two looks.
const PACE: Duration = Duration::from_millis(200);
/// How long the last agents may take beyond the grace that a late one waits for: the batch has
/// ended before they have said their last.
const LAST: Duration = Duration::from_secs(10);

/// How many scripts of each plan were played, by how the platform bore it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripts {
    lines: Vec<Line>,
    /// Whether a process was killed: then nobody has counted all.
    incomplete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    plan: PlannedOutcome,
    /// Scripts that there have to be.
    expected: u64,
    as_scripted: u64,
    disturbed: u64,
    wrong: u64,
}

impl Line {
    fn played(self) -> u64 {
        self.as_scripted + self.disturbed + self.wrong
    }
}

impl Scripts {
    /// Reads what the worker has counted, until it has counted all; `incomplete` where it was
    /// killed meanwhile, so that it never will.
    ///
    /// # Errors
    /// If the worker does not tell.
    pub async fn read(
        http: &Http,
        worker: &Member,
        asked: Asked,
        grace: Duration,
        incomplete: bool,
    ) -> Result<Self, Failure> {
        let until = Instant::now() + grace + LAST;
        loop {
            let answer = http.get(&format!("{}/metrics", worker.url), &[], METRICS).await;
            let answer = answer.map_err(|error| {
                let message = format!("{} does not tell what it played: {error}", worker.name);
                Failure::new(ErrorCode::WorkerSilent, message)
            })?;
            let samples = Samples::parse(&String::from_utf8_lossy(&answer.body));
            let lines = counted(asked, &samples);
            let all = lines.iter().all(|line| line.played() >= line.expected);
            if all || incomplete || Instant::now() >= until {
                return Ok(Self { lines, incomplete });
            }
            sleep(PACE).await;
        }
    }

    /// Scripts that were played to their end as they have to be.
    pub fn as_scripted(&self) -> u64 {
        self.lines.iter().map(|line| line.as_scripted).sum()
    }
}

/// How long an agent whose callback is late waits, in wall time.
pub fn grace(scale: dialtone_clock::TimeScale) -> Duration {
    scale.guard(limits::CALLBACK_GRACE)
}

fn counted(asked: Asked, samples: &Samples) -> Vec<Line> {
    let line = |(plan, planned): (PlannedOutcome, u32)| {
        let count = |result| {
            let labels = [("plan", plan.as_str()), ("result", result)];
            let n = samples.sum("test_worker_scripts_total", &labels).unwrap_or(0.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count, far below what a double holds"
            )]
            let n = n as u64;
            n
        };
        // What is refused is refused with every attempt.
        let times = if plan.is_accepted() { 1 } else { asked.attempts_max };
        Line {
            plan,
            expected: u64::from(planned) * u64::from(times),
            as_scripted: count("as_scripted"),
            disturbed: count("disturbed"),
            wrong: count("wrong"),
        }
    };
    asked.mix.faults.pairs().into_iter().map(line).collect()
}

/// Whether every script was played, and the platform answered none as it must not.
///
/// # Errors
/// If not.
pub fn judge(scripts: &Scripts) -> Result<String, Failure> {
    let failed = |message: String, evidence: Vec<String>| {
        Err(Failure::new(ErrorCode::CheckFailed, message).evidence(evidence))
    };
    let wrong: Vec<_> = scripts.lines.iter().filter(|line| line.wrong > 0).collect();
    if !wrong.is_empty() {
        let n: u64 = wrong.iter().map(|line| line.wrong).sum();
        let told = wrong.iter().map(|line| format!("{}: {}", line.plan, line.wrong)).collect();
        return failed(format!("{n} answers to agents were not as they have to be"), told);
    }
    let short = |line: &&Line| line.as_scripted < line.expected;
    let short: Vec<_> = scripts.lines.iter().filter(short).collect();
    if !short.is_empty() && !scripts.incomplete {
        let told = short.iter().map(|line| {
            let Line { plan, expected, as_scripted, disturbed, .. } = line;
            format!("{plan}: {as_scripted} of {expected}, disturbed {disturbed}")
        });
        let message = "not every script was played to its end".to_owned();
        return failed(message, told.collect());
    }
    let played = scripts.as_scripted();
    Ok(match scripts.incomplete {
        false => format!("{played} scripts played to their end"),
        true => format!("{played} scripts played to their end, as far as anybody counted"),
    })
}

#[cfg(test)]
mod tests {
    use dialtone_contract::wire::OutcomeMode;
    use dialtone_contract::{ScriptedFaults, TestMix};

    use super::*;

    const ASKED: Asked = Asked {
        mix: TestMix {
            weights: dialtone_contract::OutcomeWeights {
                completed: 1,
                failed: 0,
                stuck: 0,
                dropped: 0,
            },
            faults: ScriptedFaults::each(2),
        },
        mode: OutcomeMode::Exact,
        attempts_max: 3,
    };

    fn text(spoil: impl Fn(PlannedOutcome) -> [u32; 3]) -> Scripts {
        let line = |(plan, _): (PlannedOutcome, u32)| {
            let results = ["as_scripted", "disturbed", "wrong"].into_iter().zip(spoil(plan));
            let line = |(result, n)| {
                format!("test_worker_scripts_total{{plan=\"{plan}\",result=\"{result}\"}} {n}\n")
            };
            results.map(line).collect::<String>()
        };
        let text: String = ASKED.mix.faults.pairs().into_iter().map(line).collect();
        Scripts { lines: counted(ASKED, &Samples::parse(&text)), incomplete: false }
    }

    fn good(plan: PlannedOutcome) -> [u32; 3] {
        [if plan.is_accepted() { 2 } else { 6 }, 0, 0]
    }

    #[test]
    fn every_script_has_to_be_played_to_its_end() {
        let all = text(good);
        assert_eq!(judge(&all), Ok("16 scripts played to their end".into()));
        let late = PlannedOutcome::LateCallback;
        let short = text(|plan| if plan == late { [1, 1, 0] } else { good(plan) });
        let failure = judge(&short).expect_err("found");
        assert_eq!(failure.evidence, ["late_callback: 1 of 2, disturbed 1"]);
        assert!(judge(&Scripts { incomplete: true, ..short }).is_ok(), "a worker was killed");
        let never = PlannedOutcome::NeverAccepts;
        let twice = text(|plan| if plan == never { [5, 0, 0] } else { good(plan) });
        assert!(judge(&twice).is_err(), "each attempt has to be refused");
    }

    #[test]
    fn one_wrong_answer_is_a_failure_whatever_was_killed() {
        let lost = PlannedOutcome::LostCallback;
        let wrong = text(|plan| if plan == lost { [1, 0, 1] } else { good(plan) });
        let failure = judge(&Scripts { incomplete: true, ..wrong }).expect_err("found");
        assert_eq!(failure.message, "1 answers to agents were not as they have to be");
        assert_eq!(failure.evidence, ["lost_callback: 1"]);
    }
}
