//! What becomes of calls whose agents fall silent. Guards run at their floor of 1.5 s,
//! the caps of ringing and of the call at 3 s and 45 s.

use std::time::Duration;

use dialtone_contract::wire::{BatchStatus, EntryView};
use dialtone_contract::{ErrorCode, Outcome};
use dialtone_tests::{Hand, Hands, Rig, Setup, TestBatch};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Heartbeat lease and callback grace 1.5 s, ringing at most 3 s.
const FACTOR: u32 = 20;

const CEILING: Duration = Duration::from_secs(20);

/// A claimed call in the test's hand.
async fn claimed(rig: &Rig, hands: &mut Hands, batch: &TestBatch) -> (String, Hand) {
    let id = rig.api.trigger(batch).await;
    let hand = hands.next().await;
    hand.claim().await;
    (id, hand)
}

/// How the batch's one entry ended.
async fn ended(rig: &Rig, id: &str) -> (BatchStatus, EntryView, Option<Outcome>) {
    let status = rig.api.completed(id, CEILING).await;
    let entry = rig.api.entries(id).await.remove(0);
    rig.verify(id).await;
    let outcome = entry.outcome;
    (status, entry, outcome)
}

#[tokio::test]
async fn a_closed_call_without_a_callback_is_completed_from_its_log() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let one = TestBatch::of(1, 0, 0, 0);
            let (good, hand) = claimed(rig, &mut hands, &one).await;
            hand.status("in_call").await.ok();
            hand.status("ended").await.ok();
            let (bad, broken) = claimed(rig, &mut hands, &one).await;
            broken.status("failed").await.ok();
            let (status, entry, outcome) = ended(rig, &good).await;
            assert_eq!(outcome, Some(Outcome::Completed), "{entry:?}");
            assert_eq!((status.completed_calls, status.dials), (1, 1));
            let (status, entry, outcome) = ended(rig, &bad).await;
            assert_eq!(outcome, Some(Outcome::Failed), "{entry:?}");
            assert_eq!((status.failed_calls, status.attempts), (1, 1));
            // The callback that comes at last says nothing new, or too much.
            assert_eq!(hand.report("completed").await.ok()["applied"], json!(false));
            hand.report("failed").await.refused(ErrorCode::OutcomeConflict);
            hands.leave().await;
        })
        .await;
}

/// The callback decides what came of a closed call, when it comes in time.
#[tokio::test]
async fn a_callback_within_the_grace_beats_the_log() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let (id, hand) = claimed(rig, &mut hands, &TestBatch::of(1, 0, 0, 0)).await;
            hand.status("ended").await.ok();
            assert_eq!(hand.report("voicemail").await.ok()["applied"], json!(true));
            let (_, entry, outcome) = ended(rig, &id).await;
            assert_eq!(outcome, Some(Outcome::Voicemail), "{entry:?}");
            hands.leave().await;
        })
        .await;
}

#[tokio::test]
async fn an_agent_that_stops_beating_is_lost_and_its_callee_left_alone() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let one = TestBatch::of(1, 0, 0, 0);
            let (id, hand) = claimed(rig, &mut hands, &one).await;
            hand.status("in_call").await.ok();
            hand.beat(1, "in_call").await.ok();
            let redial = one.with("/options/redial_after_contact", true);
            let (again, lost) = claimed(rig, &mut hands, &redial).await;
            let (status, entry, outcome) = ended(rig, &id).await;
            assert_eq!(outcome, Some(Outcome::AgentError), "{entry:?}");
            assert_eq!((status.attempts, status.dials), (1, 1), "not dialled again");
            let over = hand.beat(2, "in_call").await.ok();
            assert_eq!(over["continue"], json!(false));
            hand.report("completed").await.refused(ErrorCode::OutcomeConflict);
            // Unless the batch says that callees may be called twice.
            let next = hands.next().await;
            assert_eq!(next.metadata().entry_id, lost.metadata().entry_id);
            next.claim().await;
            next.report("completed").await.ok();
            lost.report("completed").await.refused(ErrorCode::StaleAttempt);
            let (status, _, outcome) = ended(rig, &again).await;
            assert_eq!((outcome, status.attempts), (Some(Outcome::Completed), 2));
            hands.leave().await;
        })
        .await;
}

/// A beat that comes again, from a proxy or a stuck agent, is answered and keeps nobody alive.
#[tokio::test]
async fn a_beat_whose_number_does_not_rise_is_no_sign_of_life() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let (id, hand) = claimed(rig, &mut hands, &TestBatch::of(1, 0, 0, 0)).await;
            hand.status("in_call").await.ok();
            hand.beat(7, "in_call").await.ok();
            let began = Instant::now();
            let mut beats = interval(Duration::from_millis(250));
            for seq in [7, 3, 0].into_iter().cycle() {
                beats.tick().await;
                if hand.beat(seq, "in_call").await.ok()["continue"] == json!(false) {
                    break;
                }
                assert!(began.elapsed() < CEILING, "kept alive by a beat that was known");
            }
            let (_, entry, outcome) = ended(rig, &id).await;
            assert_eq!(outcome, Some(Outcome::AgentError), "{entry:?}");
            hands.leave().await;
        })
        .await;
}

/// Beats as the claim asked, until told to hang up; gives the time until then.
async fn beat_until_over(hand: &Hand, state: &str, most: Duration) -> Option<Duration> {
    let began = Instant::now();
    let heartbeat_ms = hand.claim().await["heartbeat_ms"].as_u64().expect("a number");
    let mut beats = interval(Duration::from_millis(heartbeat_ms));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for seq in 1.. {
        beats.tick().await;
        if hand.beat(seq, state).await.ok()["continue"] == json!(false) {
            return Some(began.elapsed());
        }
        if began.elapsed() >= most {
            return None;
        }
    }
    None
}

#[tokio::test]
async fn beats_keep_a_call_alive_but_do_not_let_it_ring_for_ever() {
    Setup::at(FACTOR)
        .without_worker()
        .run(async |rig| {
            let mut hands = Hands::register(rig.livekit.api()).await;
            let two = TestBatch::of(2, 0, 0, 0);
            let id = rig.api.trigger(&two).await;
            let (talks, rings) = (hands.next().await, hands.next().await);
            talks.claim().await;
            rings.claim().await;
            talks.status("in_call").await.ok();
            // The lease is 1.5 s, ringing ends after 3 s, a call after 45 s.
            let most = Duration::from_millis(4_500);
            let (talked, rang) = tokio::join!(beat_until_over(&talks, "in_call", most), async {
                beat_until_over(&rings, "ringing", CEILING).await
            },);
            assert_eq!(talked, None, "beats keep a call alive beyond its lease");
            let rang = rang.expect("ringing ends");
            assert!(rang >= Duration::from_millis(2_500), "cut off after {rang:?}");
            talks.report("completed").await.ok();
            let status = rig.api.completed(&id, CEILING).await;
            let by_outcome = json!({ "completed": 1, "timeout_ringing": 1 });
            assert_eq!(json!(status.by_outcome), by_outcome, "{status:?}");
            rig.verify(&id).await;
            hands.leave().await;
        })
        .await;
}
