//! Batches as the API would show them, good and bad.

use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_clock::Timestamp;
use dialtone_contract::wire::{AttemptView, EntryView};
use dialtone_contract::{
    BatchId, BatchState, CallState, EntryKey, EntryState, OutcomeWeights, ScriptedFaults,
};

use super::*;
use crate::drill::Victim;
use crate::invariant;
use crate::outage::{Outage, Outages};

const MIX: TestMix = TestMix {
    weights: OutcomeWeights { completed: 2, failed: 1, stuck: 1, dropped: 1 },
    faults: ScriptedFaults {
        late_callback: 0,
        duplicate_callback: 0,
        lost_callback: 0,
        crash_in_call: 0,
        never_accepts: 0,
        rings_forever: 0,
    },
};

const EXACT: Asked = Asked { mix: MIX, mode: OutcomeMode::Exact, attempts_max: 3 };

fn at(s: i64) -> Option<Timestamp> {
    Some(Timestamp::from_micros(s * 1_000_000))
}

/// An entry that went as planned.
fn entry(seq: u32, plan: PlannedOutcome) -> EntryView {
    let key = EntryKey { batch: BatchId::from_token("1"), seq };
    let tries = if plan.claims() { 1 } else { 3 };
    let attempt = |attempt| AttemptView {
        call_id: key.call_id(attempt),
        attempt,
        state: match plan.expected() {
            Outcome::Completed => CallState::Ended,
            _ => CallState::Failed,
        },
        room: key.call_id(attempt).to_string(),
        dispatch_id: Some("AD_1".into()),
        dispatched_at: at(1),
        claimed_at: at(2).filter(|_| plan.claims()),
        ended_at: at(3),
        reason: Some(plan.expected().to_string()),
    };
    EntryView {
        entry_id: key.entry_id(),
        seq,
        to: "+1555***0001".into(),
        state: plan.expected().final_state(),
        outcome: Some(plan.expected()),
        planned_outcome: Some(plan),
        attempts: (1..=tries).map(attempt).collect(),
    }
}

/// Five entries that went as planned.
fn good() -> Vec<EntryView> {
    use PlannedOutcome::{Completed, Dropped, Failed, Stuck};
    [Completed, Failed, Stuck, Completed, Dropped]
        .into_iter()
        .zip(1..)
        .map(|(plan, seq)| entry(seq, plan))
        .collect()
}

fn tally(entries: &[EntryView]) -> Tally {
    let mut tally = Tally::new(3);
    entries.iter().for_each(|entry| tally.add(entry));
    tally
}

/// The status that these entries must have.
fn status(tally: &Tally) -> BatchStatus {
    let state = |state| tally.by_state.get(&state).copied().unwrap_or(0);
    let batch = BatchId::from_token("1");
    BatchStatus {
        job_id: batch.job(),
        batch_id: batch,
        status: BatchState::Completed,
        status_reason: None,
        mode: "test".into(),
        seed: Some(1),
        total_calls: tally.entries,
        completed_calls: state(EntryState::Completed),
        failed_calls: state(EntryState::Failed),
        cancelled_calls: 0,
        pending_calls: state(EntryState::Pending),
        in_flight: 0,
        attempts: tally.attempts,
        dials: tally.dials,
        progress: 1.0,
        by_state: tally.by_state.clone(),
        by_outcome: tally.by_outcome.clone(),
        event_seq: 40,
        created_at: Timestamp::default(),
        started_at: at(1),
        finished_at: at(9),
        report_url: Some("/batch/bat_1/report".into()),
    }
}

const fn jobs(taken: Option<u64>) -> Jobs {
    Jobs { taken, unseen: 0 }
}

/// The names of the invariants that do not hold.
fn broken(status: &BatchStatus, tally: &Tally, report: Result<(), String>) -> Vec<String> {
    let all = invariant::check(status, tally, 3, report);
    all.into_iter().filter(|i| !i.holds).map(|i| i.name).collect()
}

#[test]
fn a_good_batch_passes_everything() {
    let tally = tally(&good());
    let status = status(&tally);
    assert_eq!(counts(EXACT, &tally), Ok("5 entries ended as planned".into()));
    assert_eq!(attempts(EXACT, &tally, &status, jobs(Some(9))), Ok("9 attempts, 3 dials".into()));
    assert!(false_expiries(&tally).is_ok());
    assert_eq!(broken(&status, &tally, Ok(())), Vec::<String>::new());
    assert!(table(EXACT, &tally).iter().all(|row| row.good));
}

#[test]
fn scripted_faults_are_expected_to_end_as_they_are_planned() {
    let mix = TestMix { faults: ScriptedFaults::each(1), ..MIX };
    let asked = Asked { mix, ..EXACT };
    let plans = mix.pairs().flat_map(|(plan, n)| std::iter::repeat_n(plan, n as usize));
    let mut entries: Vec<_> = plans.zip(1..).map(|(plan, seq)| entry(seq, plan)).collect();
    let tally_of = tally(&entries);
    let now = status(&tally_of);
    assert_eq!(counts(asked, &tally_of), Ok("11 entries ended as planned".into()));
    // Three that nobody claims take three attempts each; one of them is offered in vain.
    let said = Ok("17 attempts, 8 dials".into());
    assert_eq!(attempts(asked, &tally_of, &now, Jobs { taken: Some(14), unseen: 0 }), said);
    assert!(attempts(asked, &tally_of, &now, Jobs { taken: Some(13), unseen: 0 }).is_err());
    assert!(false_expiries(&tally_of).is_ok(), "what the plan wants is no false expiry");
    assert_eq!(broken(&now, &tally_of, Ok(())), Vec::<String>::new());
    let rows = table(asked, &tally_of);
    let told = rows.iter().filter(|row| !row.ended_as.is_empty());
    let told = told.map(|row| format!("{} {} {}", row.name, row.planned, row.ended_as));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r"
    stuck 1 failed (timeout_unclaimed)
    dropped 1 failed (timeout_unclaimed)
    late_callback 1 completed
    duplicate_callback 1 completed
    lost_callback 1 completed
    crash_in_call 1 failed (agent_error)
    never_accepts 1 failed (timeout_unclaimed)
    rings_forever 1 failed (timeout_ringing)
    ");
    // An agent that was given up for dead when it only should have been late is one.
    entries[5].attempts[0].reason = Some("agent_error".into());
    entries[5].outcome = Some(Outcome::AgentError);
    entries[5].state = EntryState::Failed;
    let failure = false_expiries(&tally(&entries)).expect_err("found");
    assert_eq!(failure.evidence, ["1 ended as agent_error: call_1_6_1"]);
}

#[test]
fn a_swap_of_two_outcomes_keeps_the_totals_and_is_found() {
    let mut entries = good();
    entries[0].planned_outcome = Some(PlannedOutcome::Failed);
    entries[1].planned_outcome = Some(PlannedOutcome::Completed);
    let failure = counts(EXACT, &tally(&entries)).expect_err("found");
    assert_eq!(failure.code, ErrorCode::WrongCounts);
    insta::assert_snapshot!(format!("{failure}\n{}", failure.evidence.join("\n")), @r"
    2 entries did not end as planned
    1 planned completed, ended failed (failed): ent_1_2
    1 planned failed, ended completed (completed): ent_1_1
    ");
}

#[test]
fn many_troubles_of_one_cause_are_one_line() {
    let spoiled = (1..=40).map(|seq| {
        let mut entry = entry(seq, PlannedOutcome::Failed);
        entry.outcome = Some(Outcome::TimeoutRinging);
        entry
    });
    let tally = tally(&spoiled.collect::<Vec<_>>());
    assert_eq!(
        tally.wrong.told(),
        ["40 planned failed, ended failed (timeout_ringing): ent_1_1, ent_1_2, ent_1_3, .."]
    );
}

#[test]
fn another_plan_than_asked_for_is_found() {
    let mut entries = good();
    entries[4] = entry(5, PlannedOutcome::Stuck);
    let failure = counts(EXACT, &tally(&entries)).expect_err("found");
    assert!(failure.message.contains("2 completed + 1 failed + 2 stuck + 0 dropped"), "{failure}");
    let failure = counts(EXACT, &tally(&good()[..4])).expect_err("found");
    assert_eq!(failure.message, "4 entries, 5 were asked for");
}

#[test]
fn a_false_expiry_costs_an_attempt_and_is_found_twice() {
    let mut entries = good();
    let mut lost = entries[0].attempts[0].clone();
    lost.claimed_at = None;
    lost.reason = Some("timeout_unclaimed".into());
    entries[0].attempts[0].attempt = 2;
    entries[0].attempts.insert(0, lost);
    let tally = tally(&entries);
    let failure = false_expiries(&tally).expect_err("found");
    assert_eq!(failure.evidence, ["1 ended as timeout_unclaimed: call_1_1_1"]);
    let failure = attempts(EXACT, &tally, &status(&tally), jobs(None)).expect_err("found");
    assert_eq!(failure.message, "attempts are 10, expected 9");
    assert!(counts(EXACT, &tally).is_ok(), "it ended as planned all the same");
}

#[test]
fn a_lease_that_ran_out_is_a_false_expiry_and_a_refusal_is_not() {
    let mut entries = good();
    entries[2].attempts[0].reason = Some("dispatch_failed".into());
    entries[3].attempts[0].reason = Some("livekit answered 503 unavailable".into());
    let tally = tally(&entries);
    let failure = false_expiries(&tally).expect_err("found");
    assert_eq!(failure.evidence, ["1 ended as dispatch_failed (its lease ran out): call_1_3_1"]);
}

#[test]
fn a_batch_that_no_worker_served_does_not_pass() {
    let mut entries = good();
    let tally_of = |entries: &[EntryView]| {
        let tally = tally(entries);
        let status = status(&tally);
        (tally, status)
    };
    let (full, now) = tally_of(&entries);
    let failure = attempts(EXACT, &full, &now, jobs(Some(0))).expect_err("found");
    assert_eq!((failure.code, failure.exit.code()), (ErrorCode::WorkerSilent, 3));
    assert_eq!(failure.message, "9 attempts were dispatched, but workers took 0 jobs");
    assert!(attempts(EXACT, &full, &now, jobs(Some(8))).is_err());
    assert!(attempts(EXACT, &full, &now, jobs(Some(12))).is_ok(), "a job may be offered again");
    assert!(attempts(EXACT, &full, &now, jobs(None)).is_ok(), "a LiveKit that does not tell");
    entries[2].attempts[0].dispatched_at = None;
    let (partly, now) = tally_of(&entries);
    assert!(attempts(EXACT, &partly, &now, jobs(Some(8))).is_ok(), "what never left needs no job");
}

#[test]
fn a_counter_that_drifts_is_named() {
    let tally = tally(&good());
    let mut status = status(&tally);
    status.completed_calls = 3;
    status.by_outcome = BTreeMap::from([(Outcome::Completed, 3)]);
    let all = invariant::check(&status, &tally, 3, Ok(()));
    let drift = all.iter().find(|i| i.name == "counters_equal_rows").expect("checked");
    assert!(!drift.holds);
    assert_eq!(
        drift.detail.as_deref(),
        Some(
            "completed_calls is 3, the entries say 2; by_outcome.completed is 3, the entries \
             say 2; by_outcome.failed is 0, the entries say 1; by_outcome.timeout_unclaimed is \
             0, the entries say 2"
        )
    );
}

#[test]
fn every_invariant_is_broken_by_something() {
    type Break = fn(&mut Vec<EntryView>);
    let cases: [(&str, Break); 6] = [
        ("one_terminal_state", |e| e[0].outcome = None),
        ("one_terminal_state", |e| e[0].state = EntryState::Failed),
        ("no_lost_entry", |e| e[1].seq = 1),
        ("attempts_within_limits", |e| {
            let mut more = e[2].attempts[2].clone();
            more.attempt = 4;
            e[2].attempts.push(more);
        }),
        ("closing_attempt_is_current", |e| e[2].attempts[1].attempt = 3),
        ("closing_attempt_is_current", |e| e[0].attempts[0].claimed_at = None),
    ];
    for (name, spoil) in cases {
        let mut entries = good();
        spoil(&mut entries);
        let tally = tally(&entries);
        let found = broken(&status(&tally), &tally, Ok(()));
        assert!(found.iter().any(|broken| broken == name), "{name}: {found:?}");
    }
    let tally = tally(&good());
    let mut status = status(&tally);
    assert_eq!(broken(&status, &tally, Err("404".into())), ["one_report"]);
    status.total_calls = 6;
    assert_eq!(broken(&status, &tally, Ok(())), ["no_lost_entry"]);
    status.total_calls = 5;
    status.dials = 10;
    assert_eq!(broken(&status, &tally, Ok(())), ["counters_equal_rows", "attempts_within_limits"]);
}

#[test]
fn weighted_counts_have_bands() {
    let mix = OutcomeWeights { completed: 240, failed: 1000, stuck: 150, dropped: 100 };
    let asked = Asked { mix: mix.into(), mode: OutcomeMode::Weighted, attempts_max: 3 };
    let expected = asked.expected();
    // 25 of 149 attempts go unclaimed, so 1.196 attempts an entry: 287 complete, 1196 fail.
    let said = [expected.completed, expected.failed, expected.unclaimed, expected.attempts];
    insta::assert_snapshot!(said.map(|band| band.to_string()).join(" "));
    for (band, mean) in said.into_iter().zip([287, 1196, 7, 1781]) {
        assert!(band.low < mean && mean < band.high, "{band} around {mean}");
    }
}

#[test]
fn a_certain_weighted_batch_has_no_band() {
    let mix = OutcomeWeights { completed: 10, ..OutcomeWeights::default() };
    let asked = Asked { mix: mix.into(), mode: OutcomeMode::Weighted, attempts_max: 3 };
    let expected = asked.expected();
    assert_eq!(expected.completed, Band::exactly(10));
    assert_eq!(expected.attempts, Band::exactly(10));
    let mix = OutcomeWeights { stuck: 10, ..OutcomeWeights::default() };
    let expected = Asked { mix: mix.into(), ..asked }.expected();
    assert_eq!((expected.unclaimed, expected.attempts), (Band::exactly(10), Band::exactly(30)));
}

/// The server was away from second 10 to 20.
fn outages() -> Outages {
    let at = |s| at(s).expect("a time");
    let outage = Outage { victim: Victim::TestWorker, counted: at(9), from: at(10), until: at(20) };
    Outages::new(vec![outage], Duration::from_secs(15))
}

fn after_outage(entries: &[EntryView]) -> Tally {
    let mut tally = Tally::new(3).excusing(outages());
    entries.iter().for_each(|entry| tally.add(entry));
    tally
}

/// The call of an agent that fell silent.
fn silent(seq: u32, claimed: i64, ended: i64) -> EntryView {
    let mut entry = entry(seq, PlannedOutcome::Completed);
    entry.state = EntryState::Failed;
    entry.outcome = Some(Outcome::AgentError);
    let attempt = &mut entry.attempts[0];
    (attempt.claimed_at, attempt.ended_at) = (at(claimed), at(ended));
    attempt.state = CallState::Failed;
    attempt.reason = Some("agent_error".into());
    entry
}

#[test]
fn a_call_that_was_live_in_an_outage_may_be_lost_and_no_other() {
    let mut entries = good();
    entries[0] = silent(1, 9, 40);
    let tally = after_outage(&entries);
    let told = counts(EXACT, &tally).expect("excused");
    assert_eq!(
        told,
        "4 entries ended as planned, 1 were lost to an outage (1 calls were live then): \
         1 planned completed, ended failed (agent_error)"
    );
    assert!(false_expiries(&tally).is_ok());
    assert!(attempts(EXACT, &tally, &status(&tally), jobs(Some(9))).is_ok());
    let rows = table(EXACT, &tally);
    assert!(rows.iter().all(|row| row.good), "{rows:?}");
    assert_eq!(rows[0].ended_as, "1 lost to an outage");
    for (claimed, ended) in [(2, 9), (21, 40)] {
        entries[0] = silent(1, claimed, ended);
        let tally = after_outage(&entries);
        assert!(counts(EXACT, &tally).is_err() && false_expiries(&tally).is_err());
    }
    // What an agent reported is no doing of an outage.
    entries[0] = silent(1, 9, 40);
    entries[0].outcome = Some(Outcome::Failed);
    assert!(counts(EXACT, &after_outage(&entries)).is_err());
}

#[test]
fn an_attempt_that_an_outage_cost_is_made_again_and_counts() {
    let mut entries = good();
    let mut lost = entries[0].attempts[0].clone();
    (lost.claimed_at, lost.ended_at) = (None, at(15));
    lost.reason = Some("timeout_unclaimed".into());
    entries[0].attempts[0].attempt = 2;
    entries[0].attempts.insert(0, lost);
    let tally = after_outage(&entries);
    assert!(false_expiries(&tally).is_ok() && counts(EXACT, &tally).is_ok());
    let now = status(&tally);
    assert_eq!(attempts(EXACT, &tally, &now, jobs(None)), Ok("10 attempts, 3 dials".into()));
    let without_count = Jobs { taken: Some(8), unseen: 1 };
    assert!(attempts(EXACT, &tally, &now, without_count).is_err(), "two jobs are missing");
    let enough = Jobs { taken: Some(8), unseen: 2 };
    assert!(attempts(EXACT, &tally, &now, enough).is_ok());
    entries[0].attempts[0].ended_at = at(9);
    let tally = after_outage(&entries);
    assert!(attempts(EXACT, &tally, &now, jobs(None)).is_err(), "it was over before");
}

/// An entry that a cancel ended, after so many attempts.
fn cut(seq: u32, plan: PlannedOutcome, attempts: usize) -> EntryView {
    let mut entry = entry(seq, plan);
    entry.state = EntryState::Cancelled;
    entry.outcome = Some(Outcome::Cancelled);
    entry.attempts.truncate(attempts);
    for attempt in &mut entry.attempts {
        attempt.reason = Some("cancelled".into());
    }
    entry
}

#[test]
fn what_a_cancel_ended_is_right_in_a_cancelled_batch_only() {
    use PlannedOutcome::{Completed, Dropped, Stuck};
    let mut entries = good();
    entries[0] = cut(1, Completed, 1);
    entries[3] = cut(4, Completed, 0);
    entries[2] = cut(3, Stuck, 2);
    entries[4] = cut(5, Dropped, 0);
    let mut tally = Tally::new(3).cancelled(true);
    entries.iter().for_each(|entry| tally.add(entry));
    let told = counts(EXACT, &tally);
    assert_eq!(told, Ok("1 entries ended as planned, 4 were cancelled (1 in a call)".into()));
    let mut now = status(&tally);
    now.status = BatchState::Cancelled;
    now.cancelled_calls = 4;
    assert_eq!(attempts(EXACT, &tally, &now, jobs(None)), Ok("4 attempts, 2 dials".into()));
    assert!(false_expiries(&tally).is_ok());
    assert_eq!(broken(&now, &tally, Ok(())), Vec::<String>::new());
    assert_eq!(broken(&now, &tally, Err("404".into())), ["one_report"]);
    assert!(table(EXACT, &tally).iter().all(|row| row.good));
    // A dial more than was claimed is wrong in a cancelled batch too.
    now.dials += 1;
    assert!(attempts(EXACT, &tally, &now, jobs(None)).is_err());
    let mut uncancelled = Tally::new(3);
    entries.iter().for_each(|entry| uncancelled.add(entry));
    assert!(counts(EXACT, &uncancelled).is_err());
}
