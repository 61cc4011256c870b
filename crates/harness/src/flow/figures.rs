//! The figures of a batch run, under their fixed names.

use std::time::Duration;

use dialtone_contract::wire::{BatchStatus, OutcomeMode};
use dialtone_contract::{ErrorCode, Outcome, PlannedOutcome, limits};

use super::judge::Asked;
use crate::event::Event;
use crate::failure::Failure;
use crate::http::Http;
use crate::prom::Samples;
use crate::run::Run;
use crate::tally::Tally;

/// How long the metrics may take.
const METRICS: Duration = Duration::from_secs(5);

/// The figures that the API gives.
pub fn of_api(run: &Run, asked: Asked, status: &BatchStatus, tally: &Tally) {
    run.metric("entries", f64::from(status.total_calls));
    run.metric("entries_completed", f64::from(status.completed_calls));
    run.metric("entries_failed", f64::from(status.failed_calls));
    run.metric("attempts", f64::from(status.attempts));
    run.metric("dials", f64::from(status.dials));
    run.metric("false_expiries", f64::from(tally.false_expiries.count));
    if asked.mode == OutcomeMode::Exact {
        for plan in PlannedOutcome::ALL {
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
