//! LiveKit as it fails in the field: nobody there, no answer, one dispatch run twice.

use std::time::Duration;

use dialtone_child::Signal;
use dialtone_contract::{ErrorCode, Outcome, TEST_WORKER_NAME};
use dialtone_tests::wait::until;
use dialtone_tests::{Hands, Setup, TestBatch, create_dispatch};
use serde_json::json;

/// Guards of at least 1.5 s.
const FACTOR: u32 = 60;

const BATCH: Duration = Duration::from_secs(40);

/// The open-source server takes a dispatch that no worker is there for, and forgets it.
#[tokio::test]
async fn without_a_worker_every_call_is_tried_and_given_up() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(20, 10, 0, 0)).await;
            let status = rig.api.completed(&id, BATCH).await;
            assert_eq!(status.by_outcome.get(&Outcome::TimeoutUnclaimed), Some(&20), "{status:?}");
            assert_eq!((status.attempts, status.dials), (60, 0));
            rig.verify(&id).await;
        })
        .await;
}

/// A worker that comes late finds the retries.
#[tokio::test]
async fn a_worker_that_comes_late_is_found() {
    Setup::at(20)
        .without_worker()
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(20, 10, 0, 0).talk_s(1.0)).await;
            rig.api
                .followed(&id, BATCH, "the first dispatches", |status| status.attempts == 20)
                .await;
            rig.start_worker().await;
            let status = rig.api.completed(&id, BATCH).await;
            assert_eq!((status.completed_calls, status.dials), (10, 20), "{status:?}");
            rig.verify(&id).await;
        })
        .await;
}

/// A server that answers nothing costs attempts, never dials, and stops nobody else.
#[tokio::test]
async fn a_livekit_that_hangs_costs_attempts_and_no_dial() {
    Setup::at(FACTOR)
        .run(async |rig| {
            rig.livekit.signal(Signal::Stop);
            let id = rig.api.trigger(&TestBatch::of(4, 0, 0, 0)).await;
            let status = rig.api.completed(&id, BATCH).await;
            assert_eq!(status.by_outcome.get(&Outcome::DispatchFailed), Some(&4), "{status:?}");
            assert_eq!((status.attempts, status.dials), (12, 0));
            rig.verify(&id).await;
            rig.livekit.signal(Signal::Cont);
            // Back again, with late dispatches of the batch that is over.
            rig.worker().ready().await;
            let next = rig.api.trigger(&TestBatch::of(4, 0, 0, 0).talk_s(1.0)).await;
            let after = rig.api.completed(&next, BATCH).await;
            assert_eq!(after.completed_calls, 4, "{after:?}");
            assert_eq!(rig.api.status(&id).await, status, "the ended batch has moved");
            rig.verify(&id).await;
        })
        .await;
}

#[tokio::test]
async fn a_dispatch_that_runs_twice_dials_once() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let first = hands.next().await;
            let again = serde_json::to_string(first.metadata()).expect("plain data");
            let (room, name) = (first.call_id(), TEST_WORKER_NAME);
            create_dispatch(rig.livekit.api(), room, name, &again).await;
            let twin = hands.next().await;
            assert_ne!(twin.job_id, first.job_id);
            assert_eq!(twin.call_id(), first.call_id());
            // Whoever is first dials; the other one learns that it is not alone.
            twin.claim().await;
            first.claim_as(&first.job_id).await.refused(ErrorCode::AlreadyClaimed);
            assert_eq!(twin.report("completed").await.ok()["applied"], json!(true));
            let status = rig.api.completed(&id, BATCH).await;
            assert_eq!((status.attempts, status.dials), (1, 1));
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}

/// Rooms of attempts that are over do not stay open.
#[tokio::test]
async fn the_rooms_of_a_batch_are_closed_with_it() {
    Setup::at(FACTOR)
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(10, 3, 2, 2).talk_s(1.0)).await;
            rig.api.completed(&id, BATCH).await;
            until("no room to be open", async || {
                let open = rig.livekit.metric("livekit_dev_rooms").await;
                if open < 0.5 { Ok(()) } else { Err(format!("{open} rooms are open")) }
            })
            .await;
        })
        .await;
}
