//! Why an entry does not move, in every state that it can be in.

use std::time::Duration;

use dialtone_auth::{NumberKeys, Phone, Secret};
use dialtone_batch::{Around, Facts, explain};
use dialtone_clock::Timestamp;
use dialtone_contract::wire::{BatchOptions, Durations, Explanation, OutcomeMode};
use dialtone_contract::{
    BatchId, BatchState, EntryKey, EntryState, Outcome, OutcomeWeights, ScriptedFaults,
    TRANSITIONS, TenantId,
};
use dialtone_store::{BatchLimits, BatchMode, BatchRow, BatchSpec, CallRow, Counters, EntryRow};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn batch(state: BatchState, in_flight: u32) -> BatchRow {
    let spec = BatchSpec {
        mode: BatchMode::Test,
        seed: 1,
        voice_id: "demo".to_owned(),
        initiated_by: 1,
        agent_id: None,
        from_number: None,
        total: 100,
        weights: OutcomeWeights::default(),
        faults: ScriptedFaults::default(),
        outcomes: OutcomeMode::Exact,
        durations: Durations::default(),
        options: BatchOptions { max_concurrent: 2, ..BatchOptions::default() },
        retry_of: None,
        webhooks: Vec::new(),
    };
    BatchRow {
        tenant: TenantId::new("demo"),
        id: BatchId::from_token("a"),
        spec: spec.into(),
        state,
        reason: (state == BatchState::Paused).then(|| "paused by a user".to_owned()),
        event_seq: 9,
        attempts: 0,
        dials: 0,
        counters: Counters::from([((EntryState::Claimed, None), in_flight)]),
        created_at: NOW,
        started_at: None,
        finished_at: None,
        limits: BatchLimits::default(),
        paced_at: None,
        claimed_at: None,
        cancel: None,
        rejected: 0,
    }
}

fn entry(state: EntryState) -> EntryRow {
    let to = Phone::parse("+15550000001").expect("a number");
    let ended = state.is_terminal() || state == EntryState::RetryWait;
    EntryRow {
        tenant: TenantId::new("demo"),
        key: EntryKey { batch: BatchId::from_token("a"), seq: 1 },
        number: NumberKeys::new(&Secret::new("s")).key("demo", &to),
        to,
        timezone: None,
        variables: None,
        planned: None,
        state,
        outcome: ended.then_some(Outcome::TimeoutUnclaimed),
        attempt: u32::from(state != EntryState::Pending),
        not_before: state.is_waiting().then_some(NOW - seconds(1)),
        deadline: state.is_in_flight().then(|| NOW + seconds(5)),
        cap: state.is_live().then(|| NOW + seconds(50)),
        lease_epoch: 1,
    }
}

fn call(entry: &EntryRow) -> Vec<CallRow> {
    let mut call = CallRow::leased(entry.attempt, NOW - seconds(8));
    call.dispatched_at = Some(NOW - seconds(7));
    if entry.state.is_live() {
        call.claimed_at = Some(NOW - seconds(3));
        call.claimer = Some("AJ_1".to_owned());
    }
    if entry.attempt == 0 { Vec::new() } else { vec![call] }
}

fn told(batch: &BatchRow, entry: &EntryRow, calls: &[CallRow], around: &Around) -> Explanation {
    explain(&Facts { batch, entry, calls, last_event: None, around, now: NOW })
}

fn plain(state: EntryState) -> Explanation {
    let entry = entry(state);
    told(&batch(BatchState::Running, 0), &entry, &call(&entry), &Around::default())
}

fn codes(explanation: &Explanation) -> Vec<&str> {
    explanation.held_by.iter().map(|hold| hold.code.as_str()).collect()
}

#[test]
fn what_would_move_it_is_what_the_table_allows() {
    for state in EntryState::ALL {
        let found = plain(*state);
        let movers: Vec<_> = found.moved_by.iter().map(|mover| mover.event.as_str()).collect();
        let rules = TRANSITIONS.iter().filter(|rule| rule.from.contains(state));
        let expected: Vec<_> = rules.map(|rule| rule.event.as_str()).collect();
        assert_eq!(movers, expected, "{state}");
        assert!(found.moved_by.iter().all(|mover| mover.detail.len() > 10), "{state}");
        assert_eq!(state.is_terminal(), movers.is_empty(), "{state}");
        assert!(!found.summary.is_empty(), "{state}");
    }
}

#[test]
fn each_state_has_what_holds_it_and_when_time_moves_it() {
    let cases: [(EntryState, &[&str], Option<&str>); 9] = [
        (EntryState::Pending, &[], None),
        (EntryState::RetryWait, &[], None),
        (EntryState::Leased, &["being_dispatched"], Some("deadline")),
        (EntryState::Dispatched, &["no_worker_accepted"], Some("deadline")),
        (EntryState::Claimed, &["ringing"], Some("deadline")),
        (EntryState::InCall, &["in_call"], Some("deadline")),
        (EntryState::Completed, &[], None),
        (EntryState::Failed, &[], None),
        (EntryState::Cancelled, &[], None),
    ];
    assert_eq!(cases.len(), EntryState::ALL.len());
    for (state, holds, due) in cases {
        let found = plain(state);
        assert_eq!(codes(&found), holds, "{state}");
        assert_eq!(found.due.as_ref().map(|due| due.kind.as_str()), due, "{state}");
        if let Some(due) = found.due {
            assert_eq!((due.at, due.in_ms), (NOW + seconds(5), 5_000), "{state}");
        }
    }
    let text = plain(EntryState::Dispatched).summary;
    assert!(text.contains("for 7.0 s no agent"), "{text}");
}

#[test]
fn a_waiting_entry_names_everything_that_holds_it() {
    let waiting = entry(EntryState::Pending);
    let held = |state, in_flight, around: &Around| {
        let found = told(&batch(state, in_flight), &waiting, &[], around);
        codes(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let none = Around::default();
    for (state, code) in [
        (BatchState::Loading, "batch_loading"),
        (BatchState::Paused, "batch_paused"),
        (BatchState::Cancelling, "batch_cancelling"),
        (BatchState::Cancelled, "batch_ended"),
    ] {
        assert_eq!(held(state, 0, &none), [code]);
    }
    assert_eq!(held(BatchState::Running, 1, &none), [""; 0]);
    assert_eq!(held(BatchState::Running, 2, &none), ["concurrency_full"]);
    let around = Around {
        livekit: Some("refused".to_owned()),
        suppressed: true,
        number: Some(("another call to the number is live".to_owned(), None)),
        window_opens: Some(NOW + seconds(60)),
        tenant_calls: Some((7, 7)),
        others_due: (3, 1),
    };
    let all = [
        "batch_paused",
        "suppressed",
        "window_closed",
        "number_busy",
        "concurrency_full",
        "tenant_concurrency_full",
        "livekit_down",
    ];
    assert_eq!(held(BatchState::Paused, 2, &around), all);
    // Whose turn it is matters to those alone that could have it.
    let around = Around { others_due: (3, 1), ..Around::default() };
    assert_eq!(held(BatchState::Running, 2, &around), ["concurrency_full"]);
    assert_eq!(held(BatchState::Running, 1, &around), ["fair_share"]);
    let found = told(&batch(BatchState::Running, 0), &waiting, &[], &around);
    let text = "it waits for its share: 3 batches of the tenant and 1 of others also want to \
                begin calls, in turns";
    assert_eq!(found.summary, text);
    let found = told(&batch(BatchState::Paused, 0), &waiting, &[], &none);
    assert_eq!(found.summary, "the batch is paused: paused by a user");
}

#[test]
fn an_entry_that_waits_for_its_time_says_for_what() {
    let mut waiting = entry(EntryState::RetryWait);
    waiting.not_before = Some(NOW + seconds(12));
    let running = batch(BatchState::Running, 0);
    let found = told(&running, &waiting, &call(&waiting), &Around::default());
    assert_eq!(codes(&found), ["retry_wait"]);
    let due = found.due.as_ref().expect("a time");
    assert_eq!((due.kind.as_str(), due.in_ms), ("claim", 12_000));
    assert_eq!(
        found.summary,
        "attempt 1 ended as timeout_unclaimed; the next one waits 12.0 s more"
    );
    waiting.state = EntryState::Pending;
    assert_eq!(codes(&told(&running, &waiting, &[], &Around::default())), ["not_due"]);
}

#[test]
fn a_closed_call_waits_for_its_callback() {
    for state in [EntryState::Claimed, EntryState::InCall] {
        let entry = entry(state);
        let mut calls = call(&entry);
        calls[0].closed_outcome = Some(Outcome::Completed);
        let found = told(&batch(BatchState::Running, 1), &entry, &calls, &Around::default());
        assert_eq!(codes(&found), ["callback_awaited"]);
        assert!(found.due.expect("a deadline").detail.contains("the call log completes it"));
    }
}
