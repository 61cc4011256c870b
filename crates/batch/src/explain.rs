//! Why an entry stands where it stands: what is known of it, put into words. Pure.

use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{Due, Explanation, Hold, Mover};
use dialtone_contract::{BatchState, EntryEvent, EntryState, Outcome, TRANSITIONS};
use dialtone_store::{BatchRow, CallRow, EntryRow, EventRow};

use crate::status::event_view;

/// What is known of an entry at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its batch.
    pub batch: &'a BatchRow,
    /// The entry.
    pub entry: &'a EntryRow,
    /// Its attempts, oldest first.
    pub calls: &'a [CallRow],
    /// Its last event that was found.
    pub last_event: Option<&'a EventRow>,
    /// What surrounds it.
    pub around: &'a Around,
    /// The moment, in product time.
    pub now: Timestamp,
}

/// What surrounds a waiting entry; what is not known is left as it is by default.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Why LiveKit takes no dispatches, as far as this process knows.
    pub livekit: Option<String>,
    /// Whether the number is on the tenant's suppression list.
    pub suppressed: bool,
    /// Why the number may not be called now, and until when if that is known.
    pub number: Option<(String, Option<Timestamp>)>,
    /// When the call window opens, if it is closed now.
    pub window_opens: Option<Timestamp>,
    /// The tenant's calls in flight and how many there may be, if that is bounded.
    pub tenant_calls: Option<(u32, u32)>,
    /// Other batches that have calls due: of the tenant, and of other tenants.
    pub others_due: (u32, u32),
}

/// Why the entry stands where it stands, what holds it, and what would move it.
pub fn explain(facts: &Facts<'_>) -> Explanation {
    let Facts { batch, entry, now, .. } = *facts;
    let held_by = holds(facts);
    let due = due(facts);
    Explanation {
        summary: summary(facts, due.as_ref(), &held_by),
        batch_id: batch.id.clone(),
        batch_status: batch.state,
        batch_reason: batch.reason.clone(),
        attempts: entry.attempt,
        attempts_max: 1 + batch.spec.options.max_retries,
        now,
        last_event: facts.last_event.map(|event| event_view(&batch.id, event)),
        due,
        held_by,
        moved_by: movers(entry.state),
    }
}

fn summary(facts: &Facts<'_>, due: Option<&Due>, held_by: &[Hold]) -> String {
    let entry = facts.entry;
    if entry.state.is_terminal() {
        let outcome = entry.outcome.map_or("no outcome", Outcome::as_str);
        return format!("it has ended as {} ({outcome}); nothing moves it any more", entry.state);
    }
    match (held_by.first(), due) {
        (Some(hold), _) => hold.detail.clone(),
        (None, Some(due)) => due.detail.clone(),
        (None, None) => "nothing holds it; it is claimed in its turn".to_owned(),
    }
}

/// Every event that the transition table allows in `state`.
fn movers(state: EntryState) -> Vec<Mover> {
    let possible = TRANSITIONS.iter().filter(|rule| rule.from.contains(&state));
    let mover = |event: EntryEvent| Mover {
        event: event.as_str().to_owned(),
        detail: what_happens(event).to_owned(),
    };
    possible.map(|rule| mover(rule.event)).collect()
}

const fn what_happens(event: EntryEvent) -> &'static str {
    match event {
        EntryEvent::Leased => "a dispatcher claims it for its next attempt",
        EntryEvent::DispatchAccepted => "LiveKit takes the dispatch",
        EntryEvent::DispatchFailed => "LiveKit refuses the dispatch",
        EntryEvent::LeaseExpired => "the lease runs out: its dispatcher is gone",
        EntryEvent::LeaseReturned => "its dispatcher gives it back before anything left",
        EntryEvent::DialClaimed => "an agent claims the dial",
        EntryEvent::UnclaimedTimeout => "no agent claims the dial by the deadline",
        EntryEvent::Answered => "the agent says that the callee answered",
        EntryEvent::Heartbeat => "a heartbeat of the agent puts the deadline off",
        EntryEvent::CallClosed => "the agent says that the call is over",
        EntryEvent::Reported => "the agent reports the outcome",
        EntryEvent::CallbackTimeout => "no callback comes by the deadline: the call log decides",
        EntryEvent::RingingTimeout => "nobody answers by the deadline",
        EntryEvent::InCallTimeout => "the call does not end by the deadline",
        EntryEvent::AgentLost => "no heartbeat of the agent comes by the deadline",
        EntryEvent::Cancelled => "a user cancels it, or its batch",
        EntryEvent::HungUp => "a user cancels it, or its batch with `hangup`",
        EntryEvent::Suppressed => "its number turns out to be suppressed",
        EntryEvent::Deferred => "it is put off: its window is closed, or its number in use",
        EntryEvent::DeferredAgain => "it is put off once more: its number is still in use",
        EntryEvent::DispatchConfirmed => "LiveKit's answer arrives late; the state stays",
    }
}

fn due(facts: &Facts<'_>) -> Option<Due> {
    let entry = facts.entry;
    let (kind, at, detail) = match (entry.not_before, entry.deadline) {
        (Some(at), _) if at > facts.now => ("claim", at, "it may be claimed".to_owned()),
        (_, Some(at)) => ("deadline", at, at_deadline(facts)),
        _ => return None,
    };
    let away = at.as_micros().saturating_sub(facts.now.as_micros()) / 1000;
    Some(Due { kind: kind.to_owned(), at, in_ms: away, detail })
}

/// What a deadline that passes means, as `Rules` decides it.
fn at_deadline(facts: &Facts<'_>) -> String {
    let entry = facts.entry;
    let call = current(facts);
    let capped = entry.cap.is_some() && entry.cap <= entry.deadline;
    let what = match (entry.state, call.and_then(|call| call.closed_outcome)) {
        (EntryState::Claimed | EntryState::InCall, Some(outcome)) => {
            return format!("the call log completes it as {outcome} if no callback has come");
        }
        (EntryState::Leased, _) => "its dispatcher is taken for gone",
        (EntryState::Dispatched, _) => "the attempt ends unless an agent has claimed the dial",
        (EntryState::Claimed, None) if capped => "ringing ends",
        (EntryState::InCall, None) if capped => "the call is taken for lost: it lasts too long",
        _ => "the agent is taken for gone unless a heartbeat has come",
    };
    what.to_owned()
}

fn current<'a>(facts: &Facts<'a>) -> Option<&'a CallRow> {
    facts.calls.last().filter(|call| call.attempt == facts.entry.attempt)
}

fn holds(facts: &Facts<'_>) -> Vec<Hold> {
    let mut holds = Holds(Vec::new());
    match facts.entry.state {
        EntryState::Pending | EntryState::RetryWait => waiting(facts, &mut holds),
        EntryState::Leased => {
            let held = held_for(facts, current(facts).map(|call| call.leased_at));
            holds.add("being_dispatched", format!("a dispatcher{held} creates room and dispatch"));
            livekit(facts, &mut holds);
        }
        EntryState::Dispatched => {
            let taken = current(facts).and_then(|call| call.dispatched_at);
            let held = held_for(facts, taken);
            let detail = format!("LiveKit has the dispatch, and{held} no agent claimed the dial");
            holds.add("no_worker_accepted", detail);
            livekit(facts, &mut holds);
        }
        EntryState::Claimed | EntryState::InCall => live(facts, &mut holds),
        EntryState::Completed | EntryState::Failed | EntryState::Cancelled => {}
    }
    holds.0
}

struct Holds(Vec<Hold>);

impl Holds {
    fn add(&mut self, code: &str, detail: String) {
        self.until(code, detail, None);
    }

    fn until(&mut self, code: &str, detail: String, until: Option<Timestamp>) {
        self.0.push(Hold { code: code.to_owned(), detail, until });
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

fn held_for(facts: &Facts<'_>, since: Option<Timestamp>) -> String {
    since.map(|at| format!(" for {}", seconds(facts.now.since(at)))).unwrap_or_default()
}

fn live(facts: &Facts<'_>, holds: &mut Holds) {
    let call = current(facts);
    let claimer = call.and_then(|call| call.claimer.as_deref()).unwrap_or("an agent");
    let held = held_for(facts, call.and_then(|call| call.claimed_at));
    if let Some(outcome) = call.and_then(|call| call.closed_outcome) {
        let detail = format!("{claimer} closed the call as {outcome}; its callback is awaited");
        holds.until("callback_awaited", detail, facts.entry.deadline);
    } else if facts.entry.state == EntryState::Claimed {
        holds.until("ringing", format!("{claimer} rings the callee{held}"), facts.entry.cap);
    } else {
        let detail = format!("{claimer}, which has had the dial{held}, talks with the callee");
        holds.until("in_call", detail, facts.entry.cap);
    }
}

fn livekit(facts: &Facts<'_>, holds: &mut Holds) {
    if let Some(why) = &facts.around.livekit {
        holds.add("livekit_down", format!("LiveKit takes no dispatches: {why}"));
    }
}

fn waiting(facts: &Facts<'_>, holds: &mut Holds) {
    let Facts { batch, around, .. } = *facts;
    of_batch(batch, holds);
    if around.suppressed {
        let detail = "the number is suppressed: the next claim ends the entry".to_owned();
        holds.add("suppressed", detail);
    }
    not_yet(facts, holds);
    if let Some(opens) = around.window_opens {
        holds.until("window_closed", "the call window is closed".to_owned(), Some(opens));
    }
    if let Some((why, until)) = &around.number {
        holds.until("number_busy", why.clone(), *until);
    }
    let in_flight = batch.count(EntryState::is_in_flight);
    let most = batch.max_concurrent();
    if in_flight >= most {
        let detail = format!("{in_flight} of {most} calls of the batch are in flight");
        holds.add("concurrency_full", detail);
    }
    if let Some((calls, most)) = around.tenant_calls.filter(|(calls, most)| calls >= most) {
        let detail = format!("{calls} of {most} calls of the tenant are in flight");
        holds.add("tenant_concurrency_full", detail);
    }
    pace(facts, in_flight, holds);
    livekit(facts, holds);
    if holds.0.is_empty() {
        share(around, holds);
    }
}

/// Whose turn it is, where nothing else stands in the way.
fn share(around: &Around, holds: &mut Holds) {
    let batches = |n: u32| if n == 1 { "1 batch".to_owned() } else { format!("{n} batches") };
    let whose = match around.others_due {
        (0, 0) => return,
        (own, 0) => format!("{} of the tenant", batches(own)),
        (0, others) => format!("{} of other tenants", batches(others)),
        (own, others) => format!("{} of the tenant and {} of others", batches(own), others),
    };
    let detail = format!("it waits for its share: {whose} also want to begin calls, in turns");
    holds.add("fair_share", detail);
}

/// What the batch's own tempo holds back.
fn pace(facts: &Facts<'_>, in_flight: u32, holds: &mut Holds) {
    let (batch, options) = (facts.batch, &facts.batch.spec.options);
    let rate = batch.limits.calls_per_second.or(options.calls_per_second);
    if let (Some(rate), Some(until)) = (rate, batch.paced_at.filter(|at| *at > facts.now)) {
        let detail = format!("{rate} calls are begun per second, and these are used up");
        holds.until("paced", detail, Some(until));
    }
    if options.wave_size > 0 && in_flight > 0 {
        let detail = format!("{in_flight} calls of the wave before have not ended");
        holds.add("wave_under_way", detail);
    }
}

fn of_batch(batch: &BatchRow, holds: &mut Holds) {
    let why = batch.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let (code, text) = match batch.state {
        BatchState::Loading => ("batch_loading", "the batch is still being taken in"),
        BatchState::Paused => ("batch_paused", "the batch is paused"),
        BatchState::Cancelling => ("batch_cancelling", "the batch is being cancelled"),
        BatchState::Completing
        | BatchState::Completed
        | BatchState::Cancelled
        | BatchState::Failed => ("batch_ended", "the batch has ended"),
        BatchState::Accepted | BatchState::Running => return,
    };
    holds.add(code, format!("{text}{why}"));
}

fn not_yet(facts: &Facts<'_>, holds: &mut Holds) {
    let Some(at) = facts.entry.not_before.filter(|at| *at > facts.now) else { return };
    let away = seconds(at.since(facts.now));
    match (facts.entry.state, facts.entry.outcome) {
        (EntryState::RetryWait, Some(outcome)) => {
            let n = facts.entry.attempt;
            let detail = format!("attempt {n} ended as {outcome}; the next one waits {away} more");
            holds.until("retry_wait", detail, Some(at));
        }
        _ => holds.until("not_due", format!("it may be claimed in {away}"), Some(at)),
    }
}
