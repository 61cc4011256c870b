use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_child::Signal;
use dialtone_contract::{EntryState, ErrorCode};
use dialtone_tests::wait::{soon, until};
use dialtone_tests::{EventStream, Hands, Message, Setup, TestBatch};
use serde_json::json;

/// A whole batch on a slow and busy machine.
const BATCH: Duration = Duration::from_secs(60);
/// Places for streams that one tenant may have, alone: as many as it leaves free.
const STREAMS: usize = dialtone_contract::limits::STREAMS_MAX / 2;

/// The ids rise without gaps from `after`, and `done` alone repeats the last one.
fn check_ids(messages: &[Message], after: u64) {
    let (done, events) = messages.split_last().expect("messages");
    assert_eq!(done.event, "done");
    for (event, expected) in events.iter().zip(after + 1..) {
        assert_eq!((event.id, &event.data["event_seq"]), (expected, &json!(expected)));
        assert_eq!(event.data["kind"], json!(event.event));
    }
    assert_eq!(done.id, after + events.len() as u64, "{done:?}");
}

#[tokio::test]
async fn a_stream_tells_every_event_once_and_then_that_it_is_done() {
    Setup::at(60)
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(12, 4, 0, 0).seed(3)).await;
            let path = format!("/batch/{id}/events");
            let mut stream = EventStream::open(&rig.api, &path, None).await;
            assert_eq!(stream.status, 200);
            let live = stream.rest(BATCH).await;
            check_ids(&live, 0);
            let status = rig.api.completed(&id, BATCH).await;
            let done = &live.last().expect("done").data;
            assert_eq!(
                (&done["status"], &done["event_seq"]),
                (&json!("completed"), &json!(status.event_seq))
            );

            // Folded, the events give the status.
            let mut states = BTreeMap::from([("pending".to_owned(), 12_i64)]);
            for event in live.iter().filter(|event| event.data.get("entry_id").is_some()) {
                for (name, n) in [("from", -1), ("to", 1)] {
                    let state = event.data[name].as_str().expect("a state");
                    *states.entry(state.to_owned()).or_default() += n;
                }
            }
            states.retain(|_, n| *n != 0);
            let expected = [("completed".to_owned(), 8), ("failed".to_owned(), 4)];
            assert_eq!(states, BTreeMap::from(expected));

            // From anywhere on, by header or query; the header wins.
            let total = status.event_seq;
            for after in [0, 1, total / 2, total - 1, total] {
                let mut resumed = EventStream::open(&rig.api, &path, Some(after)).await;
                let rest = resumed.rest(BATCH).await;
                check_ids(&rest, after);
                assert_eq!(rest, live[usize::try_from(after).expect("few")..], "after {after}");
                let path = format!("{path}?after={after}");
                let mut asked = EventStream::open(&rig.api, &path, None).await;
                assert_eq!(asked.rest(BATCH).await, rest);
            }
            let both = format!("{path}?after=2");
            let mut resumed = EventStream::open(&rig.api, &both, Some(total)).await;
            assert_eq!(resumed.rest(BATCH).await.len(), 1, "the header wins");
        })
        .await;
}

#[tokio::test]
async fn a_stream_of_one_entry_has_its_events_alone() {
    Setup::at(60)
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(6, 0, 2, 0).seed(3)).await;
            let all = format!("/batch/{id}/events");
            let mut all = EventStream::open(&rig.api, &all, None).await;
            let entries = rig.api.entries(&id).await;
            let mut streams = Vec::new();
            for entry in &entries {
                let path = format!("/batch/{id}/events?entry_id={}", entry.entry_id);
                streams.push(EventStream::open(&rig.api, &path, None).await);
            }
            let all = all.rest(BATCH).await;
            for (entry, stream) in entries.iter().zip(&mut streams) {
                let own = stream.rest(BATCH).await;
                let (done, events) = own.split_last().expect("messages");
                let of_entry = |message: &&Message| {
                    message.event != "done" && message.data["entry_id"] == json!(entry.entry_id)
                };
                let expected: Vec<_> = all.iter().filter(of_entry).cloned().collect();
                assert_eq!(events, expected, "{}", entry.entry_id);
                assert_eq!(done.event, "done");
                assert_eq!(done.data["entry_id"], json!(entry.entry_id));
                assert_eq!(done.data["state"], events.last().expect("events").data["to"]);
            }
        })
        .await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_is_refused() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(3, 0, 0, 0)).await;
            rig.api.get("/batch/bat_0/events").await.refused(ErrorCode::NotFound);
            let path = format!("/batch/{id}/events");
            let other = rig.api.trigger(&TestBatch::of(3, 0, 0, 0)).await;
            let foreign = other.replace("bat_", "ent_");
            let bad = [
                ("?after=x", "/query/after", "wrong_type"),
                ("?after=99999", "/query/after", "out_of_range"),
                ("?since=1", "/query/since", "unknown_field"),
                ("?entry_id=ent_x", "/query/entry_id", "invalid"),
            ];
            for (query, pointer, code) in bad {
                let answer = rig.api.get(&format!("{path}{query}")).await;
                answer.invalid(&[(pointer, code)]);
            }
            for entry in [format!("{foreign}_1"), format!("{}_4", id.replace("bat_", "ent_"))] {
                let answer = rig.api.get(&format!("{path}?entry_id={entry}")).await;
                answer.invalid(&[("/query/entry_id", "invalid")]);
            }
            for (last, code) in [("x", "invalid"), ("-1", "invalid"), ("99999", "out_of_range")] {
                let answer = rig.api.get_with(&path, &[("last-event-id", last)]).await;
                answer.invalid(&[("/header/Last-Event-ID", code)]);
            }
        })
        .await;
}

#[tokio::test]
async fn watchers_have_places_and_hold_up_no_shutdown() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let hand = hands.next().await;
            let path = format!("/batch/{id}/events");
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                streams.push(EventStream::open(&rig.api, &path, None).await);
            }
            let refused = rig.api.get(&path).await;
            refused.refused(ErrorCode::TooManyStreams);
            assert!(refused.header("retry-after").is_some());
            // Everything else goes on.
            hand.claim().await;
            let dispatched = |status: &dialtone_contract::wire::BatchStatus| {
                status.by_state.get(&EntryState::Claimed) == Some(&1)
            };
            rig.api.followed(&id, BATCH, "the claim", dispatched).await;
            // A watcher that leaves makes room.
            drop(streams.pop());
            until("a free place", async || {
                let again = EventStream::open(&rig.api, &path, None).await;
                if again.status == 200 { Ok(()) } else { Err(again.status.to_string()) }
            })
            .await;
            // The others read to what there is; then the server stops, and none is done.
            let stopped = soon("the stop", async {
                rig.dialtone.signal(Signal::Term);
                rig.dialtone.ended().await
            })
            .await;
            assert!(stopped.success(), "{stopped}");
            for stream in &mut streams {
                let seen = stream.rest(BATCH).await;
                assert!(seen.iter().all(|message| message.event != "done"));
            }
            assert!(!rig.logs().contains("were cut"), "streams were cut at the drain limit");
            hands.leave().await;
        })
        .await;
}
