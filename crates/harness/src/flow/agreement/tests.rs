//! Streams as a server would send them, right and wrong.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use dialtone_contract::{BatchId, BatchState, EntryEvent, EntryKey, EntryState, Outcome};

use super::*;

const fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn event(seq: u64, kind: &str, entry: Option<u32>, from: &str, to: &str) -> EventView {
    let key = |seq| EntryKey { batch: BatchId::from_token("1"), seq };
    EventView {
        event_seq: seq,
        kind: kind.to_owned(),
        entry_id: entry.map(|seq| key(seq).entry_id()),
        attempt: entry.map(|_| 1),
        from: from.to_owned(),
        to: to.to_owned(),
        outcome: (to == "completed" && entry.is_some()).then_some(Outcome::Completed),
        reason: None,
        at: at(i64::try_from(seq).expect("small")),
    }
}

/// A batch of two whose first call ends well, and whose second is never begun.
fn story() -> Vec<EventView> {
    let of = |seq, kind: EntryEvent, from, to| event(seq, kind.as_str(), Some(1), from, to);
    vec![
        event(1, "batch.accepted", None, "loading", "accepted"),
        event(2, "batch.started", None, "accepted", "running"),
        of(3, EntryEvent::Leased, "pending", "leased"),
        of(4, EntryEvent::DispatchAccepted, "leased", "dispatched"),
        of(5, EntryEvent::DialClaimed, "dispatched", "claimed"),
        of(6, EntryEvent::Answered, "claimed", "in_call"),
        of(7, EntryEvent::Reported, "in_call", "completed"),
    ]
}

/// The status after so many events of the story.
fn status(seq: u64) -> BatchStatus {
    let batch = BatchId::from_token("1");
    let mut status = BatchStatus {
        job_id: batch.job(),
        batch_id: batch,
        status: if seq < 2 { BatchState::Accepted } else { BatchState::Running },
        status_reason: None,
        mode: "test".into(),
        seed: Some(1),
        total_calls: 2,
        completed_calls: u32::from(seq >= 7),
        failed_calls: 0,
        cancelled_calls: 0,
        pending_calls: if seq < 3 { 2 } else { 1 },
        in_flight: u32::from((3..7).contains(&seq)),
        attempts: u32::from(seq >= 3),
        dials: u32::from(seq >= 5),
        progress: 0.0,
        by_state: Default::default(),
        by_outcome: Default::default(),
        event_seq: seq,
        created_at: at(0),
        started_at: None,
        finished_at: None,
        report_url: None,
    };
    let state = match seq {
        0..3 => EntryState::Pending,
        3 => EntryState::Leased,
        4 => EntryState::Dispatched,
        5 => EntryState::Claimed,
        6 => EntryState::InCall,
        _ => EntryState::Completed,
    };
    for state in [EntryState::Pending, state] {
        *status.by_state.entry(state).or_default() += 1;
    }
    if seq >= 7 {
        status.by_outcome.insert(Outcome::Completed, 1);
    }
    status
}

fn text(events: &[EventView]) -> String {
    let line = |event: &EventView| {
        let data = serde_json::to_string(event).expect("plain data");
        format!("id: {}\nevent: {}\ndata: {data}\n\n", event.event_seq, event.kind)
    };
    events.iter().map(line).collect()
}

/// A server that answers one connection after another with these streams; gives its port and
/// what each connection asked to resume behind.
fn serving(streams: Vec<String>) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (asked, asks) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in streams {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut head = [0; 2048];
            let n = socket.read(&mut head).expect("a request");
            let head = String::from_utf8_lossy(&head[..n]).to_lowercase();
            let resume = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
            asked.send(resume.unwrap_or_default().to_owned()).expect("a reader");
            let top = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let _ = socket.write_all(format!("{top}{stream}").as_bytes());
        }
    });
    (port, asks)
}

/// What comes of comparing these statuses with these streams.
async fn compared(streams: Vec<String>, statuses: &[BatchStatus]) -> Agreement {
    let (port, _asks) = serving(streams);
    let agreement = Agreement::default();
    let (seen, waiting) = mpsc::channel(WAITING);
    for status in statuses {
        seen.send(status.clone()).await.expect("room");
    }
    drop(seen);
    Reader::new(&agreement, port, "bat_1").compare(waiting).await;
    agreement
}

#[tokio::test]
async fn every_status_equals_the_events_up_to_it() {
    let all: Vec<BatchStatus> = (1..=7).map(status).collect();
    let agreement = compared(vec![text(&story())], &all).await;
    let verdict = agreement.verdict();
    assert_eq!(verdict, Ok("7 statuses, 7 events, entries and report agree".to_owned()));
    assert_eq!(agreement.callbacks(), Some(1));
}

#[tokio::test]
async fn a_figure_that_is_off_at_one_moment_is_found() {
    let mut off = status(5);
    off.dials = 0;
    off.by_state.insert(EntryState::Claimed, 2);
    let agreement = compared(vec![text(&story())], &[status(4), off, status(7)]).await;
    let failure = agreement.verdict().expect_err("found");
    assert_eq!(failure.message, "at event 5: dials is 0, the events say 1");
    assert_eq!(failure.evidence[1], "at event 5: by_state.claimed is 2, the events say 1");
    assert_eq!(failure.evidence.len(), 2, "it was right before and after");
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_resumed_and_a_gap_is_none() {
    let story = story();
    let (first, rest) = (text(&story[..4]), text(&story[4..]));
    let (port, asks) = serving(vec![first, rest]);
    let agreement = Agreement::default();
    let (seen, waiting) = mpsc::channel(WAITING);
    seen.send(status(7)).await.expect("room");
    drop(seen);
    Reader::new(&agreement, port, "bat_1").compare(waiting).await;
    assert!(agreement.verdict().is_ok(), "{:?}", agreement.verdict());
    assert_eq!(asks.iter().collect::<Vec<_>>(), ["", "4"]);

    let mut gap = story.clone();
    gap.remove(3);
    let failure = compared(vec![text(&gap)], &[status(7)]).await.verdict().expect_err("found");
    assert_eq!(failure.message, "event 5 came where 4 belongs");
    let mut twice = story;
    twice.insert(3, event(4, EntryEvent::Leased.as_str(), Some(1), "retry_wait", "leased"));
    let failure = compared(vec![text(&twice)], &[status(7)]).await.verdict().expect_err("found");
    assert_eq!(failure.message, "event 4 leaves retry_wait, but no entry is retry_wait");
}

#[tokio::test]
async fn the_last_status_is_the_end_of_the_stream() {
    let mut last = status(7);
    last.status = BatchState::Failed;
    let mut story = story();
    story.push(event(8, "batch.failed", None, "running", "failed"));
    last.event_seq = 8;
    let end = |seq: u64, state: &str| {
        format!(
            "event: done\ndata: {{\"batch_id\":\"bat_1\",\"status\":\"{state}\",\"event_seq\":{seq}}}\n\n"
        )
    };
    let good = compared(vec![text(&story) + &end(8, "failed")], std::slice::from_ref(&last)).await;
    assert!(good.verdict().is_ok(), "{:?}", good.verdict());
    let bad =
        compared(vec![text(&story) + &end(8, "completed")], std::slice::from_ref(&last)).await;
    let failure = bad.verdict().expect_err("found");
    assert_eq!(failure.message, "the stream ends completed at event 8");
    let early = compared(vec![text(&story[..5]) + &end(5, "running")], &[last]).await;
    let failure = early.verdict().expect_err("found");
    assert_eq!(failure.message, "the stream ended at event 5, the status is at 8");
}

#[test]
fn a_report_that_says_otherwise_is_found() {
    let status = status(7);
    let mut report = serde_json::json!({
        "total_calls": 2, "completed_calls": 1, "failed_calls": 0, "cancelled_calls": 0,
        "attempts": 1, "dials": 1, "by_outcome": {"completed": 1},
    });
    assert_eq!(off_report(&status, &report), Vec::<String>::new());
    report["dials"] = 2.into();
    report["by_outcome"] = serde_json::json!({});
    assert_eq!(
        off_report(&status, &report),
        ["dials is 2, the status says 1", "by_outcome is {}, the status says {\"completed\":1}"]
    );
}

/// What the ledger shows of a kill at second 5.5, with the process back at second 6.
fn marked(victim: Victim, story: &[EventView]) -> Mark {
    let (mut fold, mut ledger) = (Fold::new(2), Ledger::default());
    let mark = ledger.kill(victim, Timestamp::from_micros(5_500_000), None);
    ledger.revived(mark, at(6));
    for event in story {
        fold.take(event).expect("the next event");
        ledger.take(event, &fold);
    }
    ledger.marks()[0]
}

#[test]
fn a_kill_is_at_a_busy_time_if_there_was_work_before_and_after() {
    let second = |seq, kind: EntryEvent, from, to| event(seq, kind.as_str(), Some(2), from, to);
    let mut story = story();
    let mark = marked(Victim::Dialtone, &story);
    assert_eq!((mark.in_flight, mark.live, mark.before), (1, 1, Some(at(5))));
    assert_eq!(mark.idle(), Some("no call was left that it would have worked on"));
    assert_eq!(mark.recovery(), None);
    story.push(second(8, EntryEvent::Leased, "pending", "leased"));
    story.push(second(9, EntryEvent::DispatchAccepted, "leased", "dispatched"));
    story.push(second(10, EntryEvent::DialClaimed, "dispatched", "claimed"));
    for (victim, recovery_ms) in [
        (Victim::Dialtone, 3_500),
        // A dispatch is the server's work, with a worker or without.
        (Victim::TestWorker, 4_500),
        (Victim::LivekitDev, 4_500),
    ] {
        let mark = marked(victim, &story);
        assert_eq!(mark.recovery(), Some(Duration::from_millis(recovery_ms)), "{victim}");
        assert_eq!(mark.idle(), None);
    }
    // A call that was begun before says nothing of a LiveKit that is back.
    let mut early = self::story();
    early.insert(5, second(6, EntryEvent::Leased, "pending", "leased"));
    early[5].at = Timestamp::from_micros(5_400_000);
    early.extend([
        second(9, EntryEvent::DispatchAccepted, "leased", "dispatched"),
        second(10, EntryEvent::DialClaimed, "dispatched", "claimed"),
    ]);
    for (event, seq) in early.iter_mut().zip(1..) {
        event.event_seq = seq;
    }
    assert_eq!(marked(Victim::LivekitDev, &early).recovery(), None);
    assert!(marked(Victim::TestWorker, &early).recovery().is_some());
    let none_under_way: Vec<EventView> = story[..2].to_vec();
    assert_eq!(
        marked(Victim::Dialtone, &none_under_way).idle(),
        Some("no call had been dispatched before")
    );
}

#[test]
fn a_dial_behind_the_cancel_is_counted() {
    let (mut fold, mut ledger) = (Fold::new(2), Ledger::default());
    let mut story = story();
    story.insert(4, event(5, "batch.cancel_requested", None, "running", "cancelling"));
    for (event, seq) in story[4..].iter_mut().zip(5..) {
        event.event_seq = seq;
    }
    for event in &story {
        fold.take(event).expect("the next event");
        ledger.take(event, &fold);
    }
    let cancel = ledger.cancel.expect("seen");
    assert_eq!((cancel.seq, cancel.in_flight, cancel.live), (5, 1, 0));
    assert_eq!((cancel.dials_after, cancel.ended), (1, None));
}
