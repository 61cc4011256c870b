//! One run of one command: what it has found so far, and how that becomes its result.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dialtone_contract::{ErrorCode, ExitCode};

use crate::envelope::{
    Case, Check, CheckStatus, Envelope, ErrorRecord, Invariant, Metrics, Threshold,
};
use crate::event::{Bus, Event};
use crate::failure::Failure;
use crate::run_dir::{self, RunDir};

/// What identifies a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `noun:verb`.
    pub command: &'static str,
    /// The run.
    pub run_id: String,
    /// Its seed.
    pub seed: u64,
    /// The command that does the same again.
    pub again: String,
}

/// A run. Findings are recorded as they come, so that a run that breaks off still has a result.
pub struct Run {
    identity: Identity,
    bus: Bus,
    dir: RunDir,
    plan: Vec<&'static str>,
    require: bool,
    keep: bool,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    checks: Vec<Check>,
    invariants: Vec<Invariant>,
    metrics: Metrics,
    thresholds: Vec<Threshold>,
    failures: Vec<Failure>,
    /// Why something was not tested.
    skips: Vec<Failure>,
    /// The case of a matrix that is under way.
    case: Option<OpenCase>,
    cases: Vec<Case>,
    artifacts: BTreeMap<String, String>,
    simulated: Duration,
}

/// A case that is under way. What is found meanwhile is the case's own.
struct OpenCase {
    name: String,
    plan: &'static [&'static str],
    began: Instant,
    checks: Vec<Check>,
    metrics: Metrics,
    /// Failures and skips that were there before it.
    before: (usize, usize),
}

impl Run {
    /// A run with nothing found yet. `plan` names its checks in order; those that never get an
    /// answer are in the result as not run.
    pub fn new(
        identity: Identity,
        bus: Bus,
        dir: RunDir,
        plan: impl Into<Vec<&'static str>>,
    ) -> Self {
        let plan = plan.into();
        let found = Mutex::default();
        Self { identity, bus, dir, plan, require: false, keep: false, found }
    }

    /// A skipped check fails the run.
    #[must_use]
    pub fn require(mut self, require: bool) -> Self {
        self.require = require;
        self
    }

    /// The data of the system under test stays, whatever the result.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// What identifies the run.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The event stream.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The run folder.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Records and tells a check that holds.
    pub fn pass(&self, name: &str, took: Duration, detail: impl Into<String>) {
        self.record(Check::new(name, CheckStatus::Passed, took, detail));
    }

    /// Records and tells a check that could not be judged.
    pub fn skip(&self, name: &str, took: Duration, why: impl Into<String>) {
        self.record(Check::new(name, CheckStatus::Skipped, took, why));
    }

    /// Records and tells a check that could not be judged, with the code of the reason.
    pub fn skip_for(&self, name: &str, took: Duration, why: Failure) {
        let check = Check {
            code: Some(why.code),
            hint: Some(why.advice().to_owned()),
            ..Check::new(name, CheckStatus::Skipped, took, why.message.clone())
        };
        self.record(check);
        self.found().skips.push(why);
    }

    /// Begins a case of a matrix, whose checks are those of `plan`.
    pub fn begin_case(&self, name: &str, plan: &'static [&'static str]) {
        self.bus.emit(Event::CaseStarted { name: name.to_owned() });
        let mut found = self.found();
        let before = (found.failures.len(), found.skips.len());
        found.case = Some(OpenCase {
            name: name.to_owned(),
            plan,
            began: Instant::now(),
            checks: Vec::new(),
            metrics: Metrics::default(),
            before,
        });
    }

    /// Ends the case: it becomes one check of the run, under its own name.
    pub fn end_case(&self) {
        let mut found = self.found();
        let Some(case) = found.case.take() else { return };
        let OpenCase { name, plan, began, checks, metrics, before } = case;
        let ran = checks.iter().filter(|check| check.status == CheckStatus::Passed).count();
        let failed = worst(&found.failures[before.0..]).cloned();
        let skipped = found.skips[before.1..].first().cloned();
        let exit = match &failed {
            Some(failure) => failure.exit,
            None if ran == 0 => ExitCode::Skipped,
            None => ExitCode::Passed,
        };
        let checks = in_plan_order(plan, checks);
        found.cases.push(Case { name: name.clone(), verdict: exit.verdict(), checks, metrics });
        drop(found);
        let took = began.elapsed();
        match (failed, skipped) {
            (Some(failure), _) => self.broke_off(&name, took, &failure),
            (None, Some(why)) if ran == 0 => self.record(Check {
                code: Some(why.code),
                hint: Some(why.advice().to_owned()),
                ..Check::new(&name, CheckStatus::Skipped, took, why.message)
            }),
            (None, _) => self.pass(&name, took, format!("{ran} checks")),
        }
    }

    /// Records and tells a check that does not hold.
    pub fn fail(&self, name: &str, took: Duration, failure: Failure) {
        self.record(Check::failed(name, took, &failure));
        self.error(failure);
    }

    /// Records a check during which the run broke off; the reason itself is told by the caller.
    /// What a signal or the deadline cut short has not failed: it was not run.
    pub fn broke_off(&self, name: &str, took: Duration, failure: &Failure) {
        let cut_short = matches!(
            failure.exit,
            ExitCode::Interrupted | ExitCode::Terminated | ExitCode::Deadline
        );
        if !cut_short {
            self.record(Check::failed(name, took, failure));
        }
    }

    /// Records and tells why the run cannot pass, outside any check.
    pub fn error(&self, failure: Failure) {
        self.bus.emit(Event::failure(&failure, Some(self.identity.again.clone())));
        self.found().failures.push(failure);
    }

    /// As [`Self::error`], unless a failure of that kind is known already.
    pub fn error_once(&self, failure: &Failure) {
        let known = self.found().failures.iter().any(|known| known.code == failure.code);
        if !known {
            self.error(failure.clone());
        }
    }

    /// Records an invariant. One that was looked at twice holds if it held twice.
    pub fn invariant(&self, invariant: Invariant) {
        let mut found = self.found();
        match found.invariants.iter_mut().find(|known| known.name == invariant.name) {
            Some(known) if known.holds => *known = invariant,
            Some(_) => {}
            None => found.invariants.push(invariant),
        }
    }

    /// Sets one figure.
    pub fn metric(&self, name: &str, value: f64) {
        let mut found = self.found();
        match &mut found.case {
            Some(case) => case.metrics.set(name, value),
            None => found.metrics.set(name, value),
        }
    }

    /// Reads one figure.
    pub fn metric_value(&self, name: &str) -> Option<f64> {
        let found = self.found();
        found.case.as_ref().map_or(&found.metrics, |case| &case.metrics).get(name)
    }

    /// Records a threshold; one that was crossed fails the run.
    pub fn threshold(&self, threshold: Threshold) {
        let Threshold { expr, metric, observed, passed } = &threshold;
        let said = format!("{expr}: {metric} is {observed}");
        let crossed = !*passed;
        self.found().thresholds.push(threshold);
        if crossed {
            self.error(Failure::new(ErrorCode::ThresholdCrossed, said));
        } else {
            self.bus.emit(Event::Note { text: format!("held: {said}") });
        }
    }

    /// Names a file of the run folder.
    pub fn artifact(&self, name: &str, path: &str) {
        self.found().artifacts.insert(name.to_owned(), path.to_owned());
    }

    /// How long the system was under test, on its own timeline.
    pub fn simulated(&self, simulated: Duration) {
        self.found().simulated = simulated;
    }

    /// The invariants that do not hold, and how many there are.
    pub fn invariants(&self) -> (Vec<Invariant>, usize) {
        let found = self.found();
        let broken = found.invariants.iter().filter(|i| !i.holds).cloned().collect();
        (broken, found.invariants.len())
    }

    /// What the run would exit with now.
    pub fn exit(&self) -> ExitCode {
        let found = self.found();
        let failed = found.failures.iter().map(|failure| failure.exit);
        let worst = failed.fold(ExitCode::Passed, ExitCode::worse);
        let ran = |status| found.checks.iter().any(|check| check.status == status);
        if worst == ExitCode::Passed && !ran(CheckStatus::Passed) {
            return ExitCode::Skipped;
        }
        worst
    }

    /// Ends the run: makes the document, drops the data that nobody needs, tells everyone.
    pub fn finish(self) -> Envelope {
        if self.require {
            self.refuse_skips();
        }
        let exit = self.exit();
        let _ = self.dir.sweep_tmp();
        if exit == ExitCode::Passed && !self.keep {
            self.dir.drop_data();
        } else {
            self.artifact("data", run_dir::DATA);
        }
        for (name, path) in
            [("result", run_dir::RESULT), ("junit", run_dir::JUNIT), ("events", run_dir::EVENTS)]
        {
            self.artifact(name, path);
        }
        let folder = self.dir.shown();
        let Identity { command, run_id, seed, .. } = &self.identity;
        let mut envelope = Envelope::new(command, run_id, *seed);
        envelope.wall_s = seconds(self.bus.elapsed());
        envelope.set_exit(exit);
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        envelope.simulated_s = seconds(found.simulated);
        let skipped = found.skips.first().filter(|_| exit == ExitCode::Skipped);
        envelope.error = worst(&found.failures).or(skipped).map(ErrorRecord::from);
        envelope.cases = found.cases;
        envelope.checks = in_plan_order(&self.plan, found.checks);
        envelope.invariants = found.invariants;
        envelope.metrics = found.metrics;
        envelope.thresholds = found.thresholds;
        envelope.artifacts = found.artifacts;
        let boxed = Box::new(envelope.clone());
        self.bus.emit(Event::RunFinished { envelope: boxed, folder: Some(folder) });
        envelope
    }

    fn refuse_skips(&self) {
        let skipped: Vec<String> = {
            let found = self.found();
            let skipped = found.checks.iter().filter(|c| c.status == CheckStatus::Skipped);
            skipped.map(|check| format!("{}: {}", check.name, check.detail)).collect()
        };
        if !skipped.is_empty() {
            let message = format!("{} required checks were skipped", skipped.len());
            self.error(Failure::new(ErrorCode::CheckFailed, message).evidence(skipped));
        }
    }

    /// Records and tells a check as it is.
    pub(crate) fn record(&self, check: Check) {
        self.bus.emit(Event::Check(check.clone()));
        let mut found = self.found();
        match &mut found.case {
            Some(case) => case.checks.push(check),
            None => found.checks.push(check),
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure that decides the exit code; of several the first.
fn worst(failures: &[Failure]) -> Option<&Failure> {
    failures.iter().reduce(
        |worst, next| {
            if worst.exit.worse(next.exit) == worst.exit { worst } else { next }
        },
    )
}

fn in_plan_order(plan: &[&str], mut found: Vec<Check>) -> Vec<Check> {
    let mut checks = Vec::with_capacity(plan.len());
    for name in plan {
        match found.iter().position(|check| check.name == *name) {
            Some(at) => checks.push(found.remove(at)),
            None => checks.push(Check::new(name, CheckStatus::NotRun, Duration::ZERO, "")),
        }
    }
    checks.extend(found);
    checks
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use dialtone_contract::Verdict;

    use super::*;

    fn run(base: &std::path::Path) -> Run {
        let identity = Identity {
            command: "batch:test",
            run_id: "7f3a".into(),
            seed: 1,
            again: "cargo xtask batch:test --seed 1".into(),
        };
        let dir = RunDir::create(base, "7f3a").expect("a run folder");
        Run::new(identity, Bus::new(), dir, ["ready", "counts", "teardown"])
    }

    #[test]
    fn a_run_that_breaks_off_says_what_was_not_run() {
        let base = tempfile::tempdir().expect("a folder");
        let run = run(base.path());
        run.pass("ready", Duration::from_millis(5), "3 services");
        run.error(Failure::new(ErrorCode::NoWorker, "none"));
        run.pass("teardown", Duration::ZERO, "nothing left");
        let envelope = run.finish();
        let statuses: Vec<_> = envelope.checks.iter().map(|check| check.status).collect();
        assert_eq!(statuses, [CheckStatus::Passed, CheckStatus::NotRun, CheckStatus::Passed]);
        assert_eq!(envelope.exit_code, 3);
        assert!(base.path().join("runs/7f3a/data").is_dir(), "the data of a failure is kept");
    }

    #[test]
    fn the_more_telling_failure_is_the_error() {
        let base = tempfile::tempdir().expect("a folder");
        let run = run(base.path());
        run.fail("counts", Duration::ZERO, Failure::new(ErrorCode::WrongCounts, "23"));
        run.error(Failure::new(ErrorCode::MachineTooSlow, "dialtone 300 ms"));
        run.fail("teardown", Duration::ZERO, Failure::new(ErrorCode::Leaked, "pid 7"));
        let envelope = run.finish();
        assert_eq!(envelope.exit_code, 5);
        assert_eq!(envelope.error.map(|error| error.code), Some(ErrorCode::MachineTooSlow));
    }

    #[test]
    fn a_passed_run_drops_its_data_and_nothing_tested_is_no_pass() {
        let base = tempfile::tempdir().expect("a folder");
        let passed = run(base.path());
        passed.pass("ready", Duration::ZERO, "");
        assert_eq!(passed.finish().exit_code, 0);
        assert!(!base.path().join("runs/7f3a/data").exists());
        assert_eq!(run(base.path()).finish().exit_code, 4);
    }

    #[test]
    fn a_case_is_one_check_of_its_run() {
        let base = tempfile::tempdir().expect("a folder");
        let run = run(base.path());
        for name in ["ready", "counts", "teardown"] {
            run.begin_case(name, &["one", "two"]);
            match name {
                "ready" => run.pass("one", Duration::ZERO, ""),
                "counts" => {
                    run.skip_for("one", Duration::ZERO, Failure::new(ErrorCode::NoDevice, "none"));
                }
                _ => run.fail("two", Duration::ZERO, Failure::new(ErrorCode::WrongAnswer, "7")),
            }
            run.metric("ready_ms", 5.0);
            assert_eq!(run.metric_value("ready_ms"), Some(5.0));
            run.end_case();
        }
        assert_eq!(run.metric_value("ready_ms"), None, "the figures are those of the cases");
        let envelope = run.finish();
        let statuses: Vec<_> = envelope.checks.iter().map(|check| check.status).collect();
        assert_eq!(statuses, [CheckStatus::Passed, CheckStatus::Skipped, CheckStatus::Failed]);
        assert_eq!(envelope.checks[1].code, Some(ErrorCode::NoDevice));
        let verdicts: Vec<_> = envelope.cases.iter().map(|case| case.verdict).collect();
        assert_eq!(verdicts, [Verdict::Passed, Verdict::Skipped, Verdict::Failed]);
        let inner: Vec<_> = envelope.cases[2].checks.iter().map(|check| check.status).collect();
        assert_eq!(inner, [CheckStatus::NotRun, CheckStatus::Failed]);
        assert_eq!(envelope.exit_code, 1);
    }

    #[test]
    fn a_run_that_only_skipped_says_why_and_must_not_if_it_was_required() {
        for (require, exit, code) in
            [(false, 4, ErrorCode::NoDevice), (true, 1, ErrorCode::CheckFailed)]
        {
            let base = tempfile::tempdir().expect("a folder");
            let run = run(base.path()).require(require);
            run.skip_for("ready", Duration::ZERO, Failure::new(ErrorCode::NoDevice, "none"));
            let envelope = run.finish();
            assert_eq!(envelope.exit_code, exit);
            assert_eq!(envelope.error.map(|error| error.code), Some(code));
        }
    }

    #[test]
    fn a_required_check_must_not_be_skipped() {
        let base = tempfile::tempdir().expect("a folder");
        let run = run(base.path()).require(true);
        run.pass("ready", Duration::ZERO, "");
        run.skip("counts", Duration::ZERO, "not judged");
        assert_eq!(run.finish().exit_code, 1);
    }
}
