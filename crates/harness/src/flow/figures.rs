//! The figures of a batch run, under their fixed names.

use std::time::Duration;

use dialtone_clock::{GUARD_FLOOR, TimeScale};
use dialtone_contract::wire::{BatchStatus, OutcomeMode};
use dialtone_contract::{ErrorCode, Outcome, PlannedOutcome, limits};

use super::judge::Asked;
use crate::event::Event;
use crate::failure::Failure;
use crate::http::Http;
use crate::lag::LagBook;
use crate::prom::Samples;
use crate::run::Run;
use crate::tally::Tally;

/// How long the metrics may take.
const METRICS: Duration = Duration::from_secs(5);

/// The figures that the API gives.
pub fn of_api(run: &Run, asked: Asked, scale: TimeScale, status: &BatchStatus, tally: &Tally) {
    run.metric("entries", f64::from(status.total_calls));
    run.metric("entries_completed", f64::from(status.completed_calls));
    run.metric("entries_failed", f64::from(status.failed_calls));
    run.metric("attempts", f64::from(status.attempts));
    run.metric("dials", f64::from(status.dials));
    if let Some(ended) = status.finished_at {
        let wall = scale.story(ended.since(status.created_at)).as_secs_f64();
        run.metric("calls_per_s", f64::from(status.attempts) / wall.max(1e-3));
    }
    run.metric("false_expiries", f64::from(tally.false_expiries.count));
    if asked.mode == OutcomeMode::Exact {
        let faults = asked.mix.faults;
        let usual = asked.mix.weights.pairs().len();
        let told = if faults.is_none() { usual } else { PlannedOutcome::ALL.len() };
        for plan in PlannedOutcome::ALL.iter().take(told) {
            run.metric(plan.as_str(), f64::from(tally.line(*plan).as_planned));
        }
        return;
    }
    // Without a plan per entry, stuck and dropped cannot be told apart from outside.
    for (name, outcome) in [
        ("completed", Outcome::Completed),
        ("failed", Outcome::Failed),
        ("unclaimed", Outcome::TimeoutUnclaimed),
    ] {
        run.metric(name, f64::from(tally.ended(outcome)));
    }
}

/// The figures that only the server has.
pub async fn of_server(run: &Run, http: &Http, base: &str) {
    let answer = http.get(&format!("{base}/metrics"), &[], METRICS).await;
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    let samples = Samples::parse(&text.unwrap_or_default());
    let callbacks = |result| samples.sum("batch_callbacks_total", &[("result", result)]);
    match callbacks("applied") {
        Some(applied) => run.metric("callbacks", applied),
        None => run.metric("callbacks", 0.0),
    }
    for result in ["duplicate", "late", "unknown"] {
        if let Some(n) = callbacks(result) {
            run.metric(&format!("callbacks_{result}"), n);
        }
    }
    if let Some(seconds) = samples.sum("store_commit_max_seconds", &[]) {
        run.metric("commit_max_ms", seconds * 1e3);
    }
    for (name, q) in [("dispatch_p50_ms", 0.5), ("dispatch_p95_ms", 0.95)] {
        match samples.quantile("call_dispatch_duration_seconds", q) {
            Some(seconds) => run.metric(name, seconds * 1e3),
            None => run.bus().emit(Event::Warning {
                text: format!("{name} is unknown: dialtone's metrics show no dispatch"),
            }),
        }
    }
}

/// The failure that a disk explains whose commits took longer than a loop may lag: guards
/// ran out while the store was waiting for it.
pub fn slow_disk(run: &Run) -> Option<Failure> {
    let limit = limits::LOOP_LAG_MAX.as_secs_f64() * 1e3;
    let slowest = run.metric_value("commit_max_ms").filter(|ms| *ms > limit)?;
    let message = format!(
        "a commit of dialtone's store took {slowest:.0} ms; guards mean nothing above {limit:.0} ms"
    );
    Some(Failure::new(ErrorCode::MachineTooSlow, message))
}

/// The failure that delays explain which are small one by one and long together. A call crosses
/// every process on its way out and on its way back, and waits for a commit each time; what that
/// adds up to must stay under the shortest guard.
pub fn slow_together(lag: &LagBook, commit_ms: Option<f64>) -> Option<Failure> {
    let floor = GUARD_FLOOR.as_secs_f64() * 1e3;
    let lags: f64 = lag.services().map(|(_, ms)| ms).sum();
    let commit = commit_ms.unwrap_or(0.0);
    let delay = 2.0 * lags + 2.0 * commit;
    if delay < floor {
        return None;
    }
    let message = format!(
        "loop lags and commits delay a call by up to {delay:.0} ms; the shortest guard is {floor:.0} ms"
    );
    let evidence = lag
        .services()
        .map(|(name, ms)| format!("{name}: loop lag up to {ms:.0} ms, twice"))
        .chain([format!("slowest commit of dialtone's store: {commit:.0} ms, twice")]);
    Some(Failure::new(ErrorCode::MachineTooSlow, message).evidence(evidence))
}

/// The figures in one line, for the table.
pub fn line(run: &Run) -> String {
    let value = |name| run.metric_value(name);
    let whole = |name| value(name).map(|n| format!("{n:.0}"));
    let fine = |name| value(name).map(|n| format!("{n:.1} ms"));
    let parts = [
        whole("dials").map(|n| format!("dials {n}")),
        whole("callbacks").map(|n| format!("callbacks {n}")),
        fine("dispatch_p50_ms").map(|n| format!("dispatch p50 {n}")),
        fine("dispatch_p95_ms").map(|n| format!("p95 {n}")),
        whole("loop_lag_max_ms").map(|n| format!("loop lag max {n} ms")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lag::HARNESS;

    #[test]
    fn delays_that_are_small_alone_are_too_slow_together() {
        let mut lag = LagBook::default();
        // The harness is on no call's way.
        lag.note(HARNESS, 5_000.0);
        lag.note("dialtone", 240.0);
        lag.note("livekit-dev", 200.0);
        lag.note("test-worker", 210.0);
        assert_eq!(slow_together(&lag, None), None);
        assert_eq!(slow_together(&lag, Some(99.0)), None);
        let failure = slow_together(&lag, Some(100.0)).expect("too slow");
        assert_eq!((failure.code, failure.exit.code()), (ErrorCode::MachineTooSlow, 5));
        assert!(failure.message.contains("1500 ms"), "{failure}");
        assert_eq!(failure.evidence.len(), 4, "{:?}", failure.evidence);
        assert_eq!(failure.evidence[3], "slowest commit of dialtone's store: 100 ms, twice");
    }
}
