//! What a finished batch must look like. Pure: from counts to answers.

use dialtone_contract::wire::{BatchStatus, OutcomeMode};
use dialtone_contract::{ErrorCode, Outcome, PlannedOutcome, TEST_WORKER_NAME, TestMix};

use crate::event::TableRow;
use crate::failure::Failure;
use crate::tally::Tally;

/// Half the width of the 99 % band of a normal distribution, in standard deviations.
const SIGMAS_99: f64 = 2.576;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The mix.
    pub mix: TestMix,
    /// Whether the mix is kept exactly.
    pub mode: OutcomeMode,
    /// Attempts that an entry may take.
    pub attempts_max: u32,
}

/// From and to, both possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Lowest count.
    pub low: u64,
    /// Highest count.
    pub high: u64,
}

impl Band {
    const fn exactly(n: u64) -> Self {
        Self { low: n, high: n }
    }

    /// Where 99 % of such sums lie, by normal approximation with half a count for its steps.
    fn around(mean: f64, variance: f64) -> Self {
        let half = SIGMAS_99 * variance.max(0.0).sqrt() + 0.5;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and below a hundred million"
        )]
        let whole = |x: f64| x.max(0.0) as u64;
        // A certain sum has no band.
        if variance <= 0.0 {
            return Self::exactly(whole(mean.round()));
        }
        Self { low: whole((mean - half).ceil()), high: whole((mean + half).floor()) }
    }

    /// With up to so many less or more.
    fn widened(self, less: u32, more: u32) -> Self {
        Self { low: self.low.saturating_sub(less.into()), high: self.high + u64::from(more) }
    }

    fn holds(self, n: u32) -> bool {
        (self.low..=self.high).contains(&u64::from(n))
    }
}

impl std::fmt::Display for Band {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

/// What the counts must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Entries that complete.
    pub completed: Band,
    /// Entries whose agent reports a failure.
    pub failed: Band,
    /// Entries that nobody claims.
    pub unclaimed: Band,
    /// Attempts of all entries.
    pub attempts: Band,
}

impl Asked {
    /// What the counts must be for this.
    pub fn expected(self) -> Expected {
        match self.mode {
            OutcomeMode::Exact => self.exact(),
            OutcomeMode::Weighted => self.weighted(),
        }
    }

    fn exact(self) -> Expected {
        let sum = |wanted: &dyn Fn(PlannedOutcome) -> bool| -> u64 {
            self.mix.pairs().filter(|(plan, _)| wanted(*plan)).map(|(_, n)| u64::from(n)).sum()
        };
        let ends = |outcome| Band::exactly(sum(&|plan| plan.expected() == outcome));
        let unclaimed = sum(&|plan| !plan.claims());
        Expected {
            completed: ends(Outcome::Completed),
            failed: ends(Outcome::Failed),
            unclaimed: ends(Outcome::TimeoutUnclaimed),
            attempts: Band::exactly(self.dials() + unclaimed * u64::from(self.attempts_max)),
        }
    }

    /// Dials of an exact batch.
    fn dials(self) -> u64 {
        let dialled = self.mix.pairs().filter(|(plan, _)| plan.claims());
        dialled.map(|(_, n)| u64::from(n)).sum()
    }

    /// Every attempt draws anew, so an entry that nobody claims has further chances.
    fn weighted(self) -> Expected {
        let entries = f64::from(u32::try_from(self.mix.total()).unwrap_or(u32::MAX));
        let share = |n: u32| f64::from(n) / entries;
        let weights = self.mix.weights;
        let unclaimed = share(weights.stuck) + share(weights.dropped);
        // Chance that an entry sees its attempt k+1: every one before went unclaimed.
        let reach: Vec<f64> = (0..self.attempts_max)
            .scan(1.0, |p, _| Some(std::mem::replace(p, *p * unclaimed)))
            .collect();
        let tries: f64 = reach.iter().sum();
        let square: f64 = reach.iter().zip(0_u32..).map(|(p, k)| f64::from(2 * k + 1) * p).sum();
        let binomial = |p: f64| Band::around(entries * p, entries * p * (1.0 - p));
        Expected {
            completed: binomial(share(weights.completed) * tries),
            failed: binomial(share(weights.failed) * tries),
            unclaimed: binomial(unclaimed.powi(self.attempts_max.try_into().unwrap_or(i32::MAX))),
            attempts: Band::around(entries * tries, entries * (square - tries * tries)),
        }
    }
}

impl Asked {
    /// What the counts must be where outages may have cost what `tally` excuses: never more than
    /// the calls that were under way while a service was away. A lost dial ends an entry otherwise,
    /// any other lost attempt is made again.
    fn expected_of(self, tally: &Tally) -> Expected {
        let expected = self.expected();
        match self.mode {
            OutcomeMode::Exact => {
                let repeated = expected.attempts.widened(0, tally.repeated);
                // What a cancel ended has made fewer attempts than planned, or none.
                let least = if tally.cut > 0 { 0 } else { repeated.low };
                Expected { attempts: Band { low: least, ..repeated }, ..expected }
            }
            OutcomeMode::Weighted => {
                let excused = tally.excused + tally.cut;
                Expected {
                    completed: expected.completed.widened(excused, 0),
                    failed: expected.failed.widened(excused, 0),
                    unclaimed: expected.unclaimed.widened(0, excused),
                    attempts: expected.attempts.widened(excused, excused),
                }
            }
        }
    }
}

/// Whether the entries ended as planned.
pub fn counts(asked: Asked, tally: &Tally) -> Result<String, Failure> {
    let wrong = |message: String| Failure::new(ErrorCode::WrongCounts, message);
    if u64::from(tally.entries) != asked.mix.total() {
        let message = format!("{} entries, {} were asked for", tally.entries, asked.mix.total());
        return Err(wrong(message));
    }
    if asked.mode == OutcomeMode::Exact {
        if tally.planned() != asked.mix {
            let message = format!("planned {}, asked for {}", mix(tally.planned()), mix(asked.mix));
            return Err(wrong(message));
        }
        if tally.wrong.count > 0 {
            let message = format!("{} entries did not end as planned", tally.wrong.count);
            return Err(wrong(message).evidence(tally.wrong.told()));
        }
        return Ok(ended_so(tally));
    }
    let expected = asked.expected_of(tally);
    let off: Vec<String> = [
        (Outcome::Completed, expected.completed),
        (Outcome::Failed, expected.failed),
        (Outcome::TimeoutUnclaimed, expected.unclaimed),
    ]
    .into_iter()
    .filter(|(outcome, band)| !band.holds(tally.ended(*outcome)))
    .map(|(outcome, band)| {
        format!("{outcome} is {}, 99 % of such batches have {band}", tally.ended(outcome))
    })
    .collect();
    match off.first() {
        Some(first) => Err(wrong(first.clone()).evidence(off)),
        None => Ok(format!("{} entries, every count inside its 99 % band", tally.entries)),
    }
}

/// How the entries of an exact batch ended, where all of it is right.
fn ended_so(tally: &Tally) -> String {
    let lost = tally.lost.count;
    let (as_planned, live) = (tally.entries - lost - tally.cut, tally.caught_live);
    let mut text = format!("{as_planned} entries ended as planned");
    if tally.cut > 0 {
        text += &format!(", {} were cancelled ({} in a call)", tally.cut, tally.cut_live);
    }
    if lost > 0 {
        let causes = tally.lost.causes();
        text += &format!(", {lost} were lost to an outage ({live} calls were live then): {causes}");
    }
    text
}

/// The jobs that workers took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// Those that were counted, where the LiveKit tells.
    pub taken: Option<u64>,
    /// How many more there can be: what a worker took last is forgotten when it or its LiveKit is
    /// killed.
    pub unseen: u32,
}

/// Whether it took the attempts and dials that the plan takes, and whether a worker took a job for
/// each: where nobody shall answer, counts look the same without any worker.
pub fn attempts(
    asked: Asked,
    tally: &Tally,
    status: &BatchStatus,
    jobs: Jobs,
) -> Result<String, Failure> {
    let expected = asked.expected_of(tally);
    let reported = tally.ended(Outcome::Completed) + tally.ended(Outcome::Failed);
    let dials = match asked.mode {
        OutcomeMode::Exact => {
            let never = u64::from(tally.lost_undialled + tally.cut_undialled);
            asked.dials().saturating_sub(never)
        }
        // Every dial ends in a report and every report needs a dial, whatever was drawn; the
        // agent of a lost one never reported.
        OutcomeMode::Weighted => {
            u64::from(reported + tally.ended(Outcome::AgentError) + tally.cut_live)
        }
    };
    let mut off = Vec::new();
    for (name, seen) in [("attempts", status.attempts), ("attempt rows", tally.attempts)] {
        if !expected.attempts.holds(seen) {
            off.push(format!("{name} are {seen}, expected {}", expected.attempts));
        }
    }
    for (name, seen) in [("dials", status.dials), ("claimed attempt rows", tally.dials)] {
        if u64::from(seen) != dials {
            off.push(format!("{name} are {seen}, expected {dials}"));
        }
    }
    if let Some(first) = off.first() {
        return Err(Failure::new(ErrorCode::WrongCounts, first.clone()).evidence(off));
    }
    // What is refused by plan is taken by nobody.
    let left = (tally.attempts - tally.undispatched).saturating_sub(tally.unwanted);
    match jobs.taken {
        Some(taken) if taken < u64::from(left.saturating_sub(jobs.unseen)) => {
            Err(unserved(tally, left, taken))
        }
        _ => Ok(format!("{} attempts, {} dials", status.attempts, status.dials)),
    }
}

fn unserved(tally: &Tally, left: u32, taken: u64) -> Failure {
    let message = format!("{left} attempts were dispatched, but workers took {taken} jobs");
    Failure::new(ErrorCode::WorkerSilent, message).evidence([
        format!("attempts {}, of them never dispatched {}", tally.attempts, tally.undispatched),
        format!("jobs accepted by {TEST_WORKER_NAME}: {taken}"),
    ])
}

/// Whether no deadline passed on a call that was alive.
pub fn false_expiries(tally: &Tally) -> Result<String, Failure> {
    let found = &tally.false_expiries;
    if found.count == 0 {
        return Ok("no deadline passed on a live call".to_owned());
    }
    let message = format!("{} attempts were given up while their agent was at work", found.count);
    Err(Failure::new(ErrorCode::CheckFailed, message).evidence(found.told()))
}

/// Planned against final.
pub fn table(asked: Asked, tally: &Tally) -> Vec<TableRow> {
    let mut rows = match asked.mode {
        OutcomeMode::Exact => exact_rows(asked.mix, tally),
        OutcomeMode::Weighted => weighted_rows(asked.expected_of(tally), tally),
    };
    let expected = asked.expected_of(tally);
    rows.push(TableRow {
        name: "all".into(),
        planned: asked.mix.total().to_string(),
        ended: tally.entries,
        ended_as: String::new(),
        attempts: Some(tally.attempts),
        good: u64::from(tally.entries) == asked.mix.total()
            && expected.attempts.holds(tally.attempts),
    });
    rows
}

fn exact_rows(mix: TestMix, tally: &Tally) -> Vec<TableRow> {
    let usual = mix.weights.pairs();
    usual
        .into_iter()
        .chain(mix.faults.pairs().into_iter().filter(|(_, n)| *n > 0))
        .map(|(plan, planned)| {
            let line = tally.line(plan);
            let mut ended_as = match (plan, plan.expected()) {
                (PlannedOutcome::Completed | PlannedOutcome::Failed, _) => String::new(),
                (_, Outcome::Completed) => Outcome::Completed.to_string(),
                (_, outcome) => format!("failed ({outcome})"),
            };
            for (n, how) in [(line.lost, "lost to an outage"), (line.cut, "cancelled")] {
                let gap = if ended_as.is_empty() { "" } else { ", " };
                if n > 0 {
                    ended_as += &format!("{gap}{n} {how}");
                }
            }
            TableRow {
                name: plan.to_string(),
                planned: planned.to_string(),
                ended: line.as_planned,
                ended_as,
                attempts: Some(line.attempts),
                good: line.as_planned + line.lost + line.cut == planned && line.planned == planned,
            }
        })
        .collect()
}

fn weighted_rows(expected: Expected, tally: &Tally) -> Vec<TableRow> {
    [
        (PlannedOutcome::Completed.as_str(), expected.completed, Outcome::Completed, ""),
        (PlannedOutcome::Failed.as_str(), expected.failed, Outcome::Failed, ""),
        ("unclaimed", expected.unclaimed, Outcome::TimeoutUnclaimed, "failed (timeout_unclaimed)"),
    ]
    .into_iter()
    .map(|(name, band, outcome, ended_as)| TableRow {
        name: name.to_owned(),
        planned: band.to_string(),
        ended: tally.ended(outcome),
        ended_as: ended_as.to_owned(),
        attempts: None,
        good: band.holds(tally.ended(outcome)),
    })
    .collect()
}

/// The mix in words.
pub fn mix(mix: TestMix) -> String {
    let faults = mix.faults.pairs().into_iter().filter(|(_, n)| *n > 0);
    let pairs = mix.weights.pairs().into_iter().chain(faults);
    let parts: Vec<String> = pairs.map(|(plan, n)| format!("{n} {plan}")).collect();
    parts.join(" + ")
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
