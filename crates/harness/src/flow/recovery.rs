//! Whether every kill met a busy system, and how long it took until work went on.

use std::time::Duration;

use dialtone_clock::TimeScale;
use dialtone_contract::ErrorCode;

use super::agreement::Mark;
use super::verdict::Done;
use crate::drill::Kill;
use crate::failure::Failure;
use crate::run::Run;
use crate::span::human;

/// Whether each of these kills struck a batch at work that went on working; `None` if there are
/// none. A kill that meets nothing proves nothing.
pub fn judge(
    run: &Run,
    kills: &[Kill],
    scale: TimeScale,
    done: &Done,
) -> Option<Result<String, Failure>> {
    if kills.is_empty() {
        return None;
    }
    let ledger = done.agreement.ledger();
    let mut idle = Vec::new();
    for kill in kills {
        let asked = |of: &[Kill]| of.iter().filter(|other| *other == kill).count();
        let played: Vec<Kill> = done.strikes.iter().map(|strike| strike.kill).collect();
        if asked(&played) < asked(kills) {
            idle.push(format!("the batch had ended before {kill}"));
        }
    }
    idle.dedup();
    let mut told = Vec::new();
    for (strike, mark) in done.strikes.iter().zip(ledger.marks()) {
        match (mark.idle(), mark.recovery()) {
            (None, Some(recovery)) => told.push(tell(run, strike.kill, mark, recovery, scale)),
            (why, _) => {
                let why = why.unwrap_or("the log does not show it");
                idle.push(format!("{}: {why}", strike.kill));
            }
        }
    }
    run.metric("kills", as_metric(done.strikes.len()));
    run.metric("lost_calls", f64::from(done.tally.lost.count));
    Some(match idle.first() {
        None => Ok(told.join("; ")),
        Some(first) => {
            let message = format!("not busy: {first}");
            Err(Failure::new(ErrorCode::NotBusy, message).evidence(idle))
        }
    })
}

/// One kill in words; the longest recovery is the run's figure.
fn tell(run: &Run, kill: Kill, mark: &Mark, recovery: Duration, scale: TimeScale) -> String {
    let wall = scale.story(recovery);
    let longest = |name: &str, span: Duration| {
        let ms = span.as_secs_f64() * 1e3;
        let known = run.metric_value(name).unwrap_or(0.0);
        run.metric(name, known.max(ms.round()));
    };
    longest("recovery_ms", wall);
    longest("recovery_simulated_ms", recovery);
    let (in_flight, live) = (mark.in_flight, mark.live);
    format!(
        "{kill}: work again after {} ({} simulated), {in_flight} calls were under way, {live} live",
        human(wall),
        human(recovery)
    )
}

#[expect(clippy::cast_precision_loss, reason = "nobody asks for so many kills")]
fn as_metric(n: usize) -> f64 {
    n as f64
}
