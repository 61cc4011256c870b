//! Cancelling the batch while it runs, and what must then be true.

use std::time::Duration;

use dialtone_clock::TimeScale;
use dialtone_contract::{BatchState, CancelMode, ErrorCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::agreement::{Agreement, Cancelled};
use super::follow::LOST;
use super::strike::Moments;
use super::verdict::Done;
use crate::drill::Cancel;
use crate::failure::Failure;
use crate::http::{Http, chain, read};
use crate::run::Run;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// Between two tries when nobody knows whether a cancel arrived.
const PACE: Duration = Duration::from_millis(100);

/// The answer to a cancel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// Where the batch stands.
    pub status: BatchState,
    /// Whether this cancel changed that.
    pub applied: bool,
}

/// The answers to the cancels of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// To the first. Its `applied` is unknown if it had to be sent again.
    pub first: Answer,
    /// Whether it had to be sent again, as no answer came.
    pub again: bool,
    /// To the same once more.
    pub second: Answer,
}

/// Cancels a batch.
pub struct Canceller<'a> {
    /// The client.
    pub http: &'a Http,
    /// Base URL of the API.
    pub base: &'a str,
    /// The batch.
    pub batch: &'a str,
    /// What is asked for.
    pub mode: CancelMode,
}

impl Canceller<'_> {
    /// Cancels at the moment, twice; `None` if the batch ends before.
    ///
    /// # Errors
    /// If the API is lost or refuses.
    pub async fn play(&self, cancel: Cancel, moments: Moments) -> Result<Option<Answers>, Failure> {
        if moments.first(&[cancel.at]).await.is_none() {
            return Ok(None);
        }
        let (first, again) = self.send().await?;
        let (second, _) = self.send().await?;
        Ok(Some(Answers { first, again, second }))
    }

    /// Sends a cancel until it is answered, and says whether it was sent more than once: a server
    /// that was killed meanwhile may have carried it out.
    pub async fn send(&self) -> Result<(Answer, bool), Failure> {
        let url = format!("{}/batch/batch-cancel/{}", self.base, self.batch);
        let body = json!({ "mode": self.mode });
        let began = Instant::now();
        let mut again = false;
        loop {
            match self.http.post(&url, &[], &body, ANSWER).await {
                Ok(answer) => {
                    let answer = read("POST /batch/batch-cancel", &answer)
                        .map_err(|text| Failure::new(ErrorCode::CheckFailed, text))?;
                    return Ok((answer, again));
                }
                Err(error) if began.elapsed() > LOST => {
                    let message = format!("no cancel was answered: {}", chain(&error));
                    return Err(Failure::new(ErrorCode::TargetLost, message));
                }
                Err(_) => again = true,
            }
            sleep(PACE).await;
        }
    }
}

/// What the run knows of its cancel.
#[derive(Clone, Debug)]
pub struct Played {
    /// What was asked for.
    pub cancel: Cancel,
    /// What was answered; `None` if the batch had ended before its moment.
    pub answers: Option<Answers>,
    /// What was answered when the batch had ended.
    pub late: Option<Answer>,
}

/// Whether the cancel did what it must.
pub fn judge(run: &Run, played: &Played, scale: TimeScale, done: &Done) -> Result<String, Failure> {
    let wrong = |text: String| Failure::new(ErrorCode::CheckFailed, text);
    let idle = |why: &str| Failure::new(ErrorCode::NotBusy, format!("not busy: {why}"));
    let Some(answers) = &played.answers else {
        return Err(idle(&format!("the batch had ended before {}", played.cancel.at)));
    };
    let seen = seen(&done.agreement).ok_or_else(|| wrong("no event tells of the cancel".into()))?;
    if seen.in_flight == 0 || done.tally.cut == 0 {
        return Err(idle("the cancel found nothing to end"));
    }
    let off: Vec<String> = [
        off_answers(answers, played.late.as_ref()),
        off_dials(&seen),
        off_live(played.cancel.mode, done),
        off_report(done),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(first) = off.first() {
        return Err(wrong(first.clone()).evidence(off));
    }
    let took = seen.ended.map(|ended| scale.story(ended.since(seen.at)));
    let took = took.ok_or_else(|| wrong("no event tells of the cancelled end".into()))?;
    run.metric("cancel_ms", (took.as_secs_f64() * 1e3).round());
    run.metric("entries_cancelled", f64::from(done.status.cancelled_calls));
    let (cut, in_flight, live) = (done.tally.cut, seen.in_flight, seen.live);
    Ok(format!(
        "{} at {}: {cut} entries cancelled, ended after {}; {in_flight} calls were under way, {live} live",
        played.cancel.mode,
        played.cancel.at,
        crate::span::human(took)
    ))
}

fn seen(agreement: &Agreement) -> Option<Cancelled> {
    agreement.ledger().cancel
}

/// The same cancel once more answers the same, and changes nothing.
fn off_answers(answers: &Answers, late: Option<&Answer>) -> Option<String> {
    let Answers { first, again, second } = answers;
    let begun = |state| matches!(state, BatchState::Cancelling | BatchState::Cancelled);
    if !begun(first.status) || !(first.applied || *again) {
        return Some(format!("the cancel was answered {first:?}"));
    }
    if !begun(second.status) || second.applied {
        return Some(format!("the second cancel was answered {second:?}"));
    }
    let at_end = Answer { status: BatchState::Cancelled, applied: false };
    late.filter(|late| **late != at_end)
        .map(|late| format!("a cancel after the end was answered {late:?}"))
}

fn off_dials(seen: &Cancelled) -> Option<String> {
    let n = seen.dials_after;
    (n > 0).then(|| format!("{n} dials were claimed behind the cancel (event {})", seen.seq))
}

/// Calls that have reached their callee go on to their end where the batch is drained.
fn off_live(mode: CancelMode, done: &Done) -> Option<String> {
    let n = done.tally.cut_live;
    (mode == CancelMode::Drain && n > 0).then(|| format!("{n} live calls were cut by a drain"))
}

fn off_report(done: &Done) -> Option<String> {
    let partial = done.report.as_ref().ok()?.get("partial")?;
    (partial != true).then(|| format!("the report says partial: {partial}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn answer(status: BatchState, applied: bool) -> Answer {
        Answer { status, applied }
    }

    #[test]
    fn a_cancel_is_answered_once_as_applied_and_then_as_done() {
        use BatchState::{Cancelled, Cancelling, Completed, Running};
        let answers = |first, again, second| Answers { first, again, second };
        let begun = answer(Cancelling, true);
        let done = answer(Cancelled, false);
        for good in [
            answers(begun.clone(), false, answer(Cancelling, false)),
            answers(begun.clone(), false, done.clone()),
            // The answer to the one that was applied was lost with its server.
            answers(answer(Cancelling, false), true, answer(Cancelling, false)),
        ] {
            assert_eq!(off_answers(&good, Some(&done)), None, "{good:?}");
        }
        for bad in [
            answers(answer(Cancelling, false), false, done.clone()),
            answers(answer(Running, true), false, done.clone()),
            answers(begun.clone(), false, answer(Cancelling, true)),
            answers(begun.clone(), false, answer(Completed, false)),
        ] {
            assert!(off_answers(&bad, None).is_some(), "{bad:?}");
        }
        let good = answers(begun, false, done);
        assert!(off_answers(&good, Some(&answer(Cancelled, true))).is_some());
        assert!(off_answers(&good, Some(&answer(Cancelling, false))).is_some());
    }
}
