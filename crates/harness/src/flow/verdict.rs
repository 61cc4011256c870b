//! The checks on a batch that has ended, and on what its stack left behind.

use std::time::{Duration, Instant};

use dialtone_child::{Strength, strength};
use dialtone_contract::wire::BatchStatus;
use dialtone_contract::{BatchState, ErrorCode};
use serde_json::Value;

use super::agreement::Agreement;
use super::batch::Options;
use super::cancel::{self, Played};
use super::judge::{self, Asked, Jobs};
use super::scripts::{self, Scripts};
use super::strike::Strike;
use super::{figures, recovery};
use crate::envelope::Invariant;
use crate::event::Event;
use crate::failure::Failure;
use crate::invariant::{self, Verified};
use crate::run::Run;
use crate::stack::Teardown;
use crate::tally::Tally;

/// The check on what agents did wrong by script.
pub const SCRIPTS: &str = "scripts";
/// The check on the kills of a run.
pub const RECOVERY: &str = "recovery";
/// The check on the cancel of a run.
pub const CANCEL: &str = "cancel";

/// A batch that has ended, as the API shows it.
pub struct Done {
    /// The batch.
    pub batch: String,
    /// Its last status.
    pub status: BatchStatus,
    /// Its entries.
    pub tally: Tally,
    /// Its report, or why it cannot be read.
    pub report: Result<Value, String>,
    /// The jobs that workers took.
    pub jobs: Jobs,
    /// The scripts that agents played, or why that is not known; `None` if there were none.
    pub scripts: Option<Result<Scripts, Failure>>,
    /// What its events showed, and whether all agreed.
    pub agreement: Agreement,
    /// The kills that took place.
    pub strikes: Vec<Strike>,
    /// What became of the cancel that was asked for.
    pub cancelled: Option<Played>,
}

impl Done {
    /// The state that the batch must have ended in.
    fn expected(&self) -> BatchState {
        match &self.cancelled {
            Some(Played { answers: Some(_), .. }) => BatchState::Cancelled,
            _ => BatchState::Completed,
        }
    }
}

/// Every check on a batch that has ended.
pub fn judge_all(
    run: &Run,
    options: &Options,
    done: &Done,
    recount: Result<Verified, Failure>,
    too_slow: Option<&Failure>,
) {
    let asked = options.asked();
    run.bus()
        .emit(Event::Table { rows: judge::table(asked, &done.tally), figures: figures::line(run) });
    let scripts = done.scripts.as_ref().map(|scripts| match scripts {
        Ok(scripts) => scripts::judge(scripts),
        Err(failure) => Err(failure.clone()),
    });
    let answers = [
        ("counts", judge::counts(asked, &done.tally)),
        ("attempts", judge::attempts(asked, &done.tally, &done.status, done.jobs)),
        ("false_expiries", judge::false_expiries(&done.tally)),
    ];
    let agreement = ("agreement", done.agreement.verdict());
    let recovery =
        recovery::judge(run, &options.kills, options.scale, done).map(|answer| (RECOVERY, answer));
    let cancel = done
        .cancelled
        .as_ref()
        .map(|played| (CANCEL, cancel::judge(run, played, options.scale, done)));
    let scripts = scripts.map(|answer| (SCRIPTS, answer));
    let own = scripts.into_iter().chain(recovery).chain(cancel).chain([agreement]);
    for (name, answer) in answers.into_iter().chain(own) {
        match (answer, too_slow) {
            (Ok(detail), _) => run.pass(name, Duration::ZERO, detail),
            // A machine that is too slow lets deadlines pass that nobody missed.
            (Err(failure), Some(slow)) => {
                run.error_once(slow);
                run.skip(name, Duration::ZERO, format!("not judged ({slow}): {failure}"));
            }
            (Err(failure), None) => run.fail(name, Duration::ZERO, failure),
        }
    }
    if done.status.status != done.expected() {
        let reason = done.status.status_reason.as_deref().unwrap_or("no reason given");
        let message = format!("the batch ended {} ({reason})", done.status.status);
        run.error(Failure::new(ErrorCode::CheckFailed, message));
    }
    invariants(run, asked, done, recount);
}

fn invariants(run: &Run, asked: Asked, done: &Done, recount: Result<Verified, Failure>) {
    let began = Instant::now();
    let report = done.report.as_ref().map(drop).map_err(Clone::clone);
    let from_outside = invariant::check(&done.status, &done.tally, asked.attempts_max, report);
    from_outside.into_iter().for_each(|invariant| run.invariant(invariant));
    let recount = match recount {
        Ok(verified) => {
            let lines = verified.invariants.into_iter().map(Invariant::from);
            lines.for_each(|invariant| run.invariant(invariant));
            None
        }
        Err(failure) => Some(failure),
    };
    let (broken, total) = run.invariants();
    let names: Vec<String> = broken.iter().map(|invariant| invariant.name.clone()).collect();
    let hold = total - broken.len();
    run.bus().emit(Event::Invariants { hold, total, broken: names.clone() });
    if !broken.is_empty() {
        let evidence = broken.iter().map(|invariant| {
            format!(
                "{}: {}",
                invariant.name,
                invariant.detail.as_deref().unwrap_or("does not hold")
            )
        });
        let message = format!("{} of {total} do not hold: {}", broken.len(), names.join(", "));
        let failure = Failure::new(ErrorCode::InvariantBroken, message).evidence(evidence);
        run.fail("invariants", began.elapsed(), failure);
    } else if let Some(failure) = recount {
        run.broke_off("invariants", began.elapsed(), &failure);
        run.error(failure);
    } else {
        run.pass("invariants", began.elapsed(), format!("{hold}/{total} hold"));
    }
}

/// The last check of every run with a stack.
pub fn teardown(run: &Run, began: Instant, left: &Teardown) {
    let clean = left.failure();
    let counted = strength() == Strength::Full;
    // Where processes cannot be counted, nobody can say that none is left.
    if counted || clean.is_some() {
        run.invariant(Invariant {
            name: "nothing_leaked".to_owned(),
            holds: clean.is_none(),
            detail: clean.as_ref().map(ToString::to_string),
        });
    }
    if let Some(failure) = left.bad_end() {
        run.error_once(&failure);
    }
    match clean {
        Some(failure) => run.fail("teardown", began.elapsed(), failure),
        None => run.pass("teardown", began.elapsed(), nothing_left(counted)),
    }
}

fn nothing_left(counted: bool) -> &'static str {
    if counted {
        "no process, port or file left"
    } else {
        "no port or file left; processes cannot be counted here"
    }
}
