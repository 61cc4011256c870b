use std::process::Output;

use dialtone_contract::wire::EntryDetail;
use dialtone_contract::{EntryState, ErrorCode};
use dialtone_tests::wait::{soon, until};
use dialtone_tests::{Hands, Rig, Setup, TestBatch};
use serde_json::{Value, json};

/// What the API says of an entry.
async fn ask(rig: &Rig, batch: &str, entry: &str) -> EntryDetail {
    rig.api.get(&format!("/batch/{batch}/entries/{entry}")).await.expect(200)
}

/// What `dialtone explain` says of an entry.
async fn tell(rig: &Rig, entry: &str, flags: &[&str]) -> Output {
    let mut command = rig.command("explain");
    soon("dialtone explain", command.arg(entry).args(flags).output()).await.expect("run")
}

fn holds(detail: &EntryDetail) -> Vec<&str> {
    detail.explain.held_by.iter().map(|hold| hold.code.as_str()).collect()
}

/// The entry once it is in this state.
async fn when(rig: &Rig, batch: &str, entry: &str, state: EntryState) -> EntryDetail {
    until(&format!("{entry} in {state}"), async || {
        let detail = ask(rig, batch, entry).await;
        if detail.entry.state == state { Ok(detail) } else { Err(detail.to_string()) }
    })
    .await
}

#[tokio::test]
async fn an_entry_says_why_it_does_not_move() {
    Setup::at(10)
        .without_worker()
        .run(async |rig| {
            let batch = TestBatch::of(2, 0, 0, 0).with("/options/max_concurrent", 1);
            let id = rig.api.trigger(&batch).await;
            let token = id.strip_prefix("bat_").expect("a batch id");
            let (first, second) = (format!("ent_{token}_1"), format!("ent_{token}_2"));

            let detail = when(rig, &id, &first, EntryState::Dispatched).await;
            assert_eq!(holds(&detail), ["no_worker_accepted"], "{detail}");
            let due = detail.explain.due.as_ref().expect("a deadline");
            assert_eq!(due.kind, "deadline");
            assert!((1..=30_000).contains(&due.in_ms), "{detail}");
            let last = detail.explain.last_event.as_ref().expect("an event");
            assert_eq!(last.kind, "entry.dispatched");
            let movers: Vec<_> = detail.explain.moved_by.iter().map(|by| &*by.event).collect();
            assert!(movers.contains(&"entry.dial_claimed"), "{movers:?}");

            let detail = ask(rig, &id, &second).await;
            assert_eq!(holds(&detail), ["concurrency_full"], "{detail}");
            assert!(detail.explain.summary.contains("1 of 1"), "{detail}");
            assert_eq!((&detail.explain.last_event, &detail.explain.due), (&None, &None));

            // The agent comes, rings, talks, and reports.
            let mut hands = Hands::register(rig.livekit.api()).await;
            let again = when(rig, &id, &first, EntryState::RetryWait).await;
            assert!(holds(&again).contains(&"retry_wait"), "{again}");
            assert!(again.explain.summary.contains("timeout_unclaimed"), "{again}");
            assert_eq!(again.explain.due.as_ref().expect("a time").kind, "claim");
            let hand = hands.next().await;
            hand.claim().await;
            let entry = hand.metadata().entry_id.to_string();
            let detail = ask(rig, &id, &entry).await;
            assert_eq!(holds(&detail), ["ringing"], "{detail}");
            hand.status("in_call").await.ok();
            assert_eq!(holds(&ask(rig, &id, &entry).await), ["in_call"]);
            hand.status("ended").await.ok();
            assert_eq!(holds(&ask(rig, &id, &entry).await), ["callback_awaited"]);
            hand.report("completed").await.ok();
            let detail = ask(rig, &id, &entry).await;
            let explain = &detail.explain;
            assert!(explain.moved_by.is_empty() && explain.held_by.is_empty(), "{detail}");
            assert!(explain.summary.contains("completed"), "{detail}");
            hands.leave().await;
        })
        .await;
}

#[tokio::test]
async fn the_command_says_what_the_api_says() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let entry = id.replace("bat_", "ent_") + "_1";
            let shown = when(rig, &id, &entry, EntryState::Dispatched).await;
            let output = tell(rig, &entry, &["--json"]).await;
            assert!(output.status.success(), "{output:?}");
            let told: EntryDetail = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(told.entry, shown.entry);
            assert_eq!(told.explain.moved_by, shown.explain.moved_by);
            assert_eq!(holds(&told), holds(&shown));
            let text = tell(rig, &entry, &[]).await.stdout;
            let text = String::from_utf8(text).expect("UTF-8");
            for line in
                ["       state dispatched, attempt 1 of 3", "     held by no_worker_accepted"]
            {
                assert!(text.contains(line), "{text}");
            }
            assert!(!text.contains("+15550000001"), "{text}");
            let text = tell(rig, &entry, &["--reveal"]).await.stdout;
            assert!(String::from_utf8_lossy(&text).contains("+15550000001"));

            // With and without a server.
            rig.dialtone.kill().await;
            assert!(tell(rig, &entry, &[]).await.status.success());
            for (entry, said) in [("ent_0_1", "no entry `ent_0_1`"), ("42", "ent_0199a_149")] {
                let output = tell(rig, entry, &[]).await;
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && error.contains(said), "{error}");
            }
        })
        .await;
}

#[tokio::test]
async fn an_entry_that_is_not_there_is_not_found() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
            let other = rig.api.trigger(&TestBatch::of(2, 0, 0, 0)).await;
            let foreign = other.replace("bat_", "ent_") + "_1";
            let behind = id.replace("bat_", "ent_") + "_2";
            for entry in ["ent_0_1", "x", "ent_0_0", &foreign, &behind] {
                let answer = rig.api.get(&format!("/batch/{id}/entries/{entry}")).await;
                answer.refused(ErrorCode::NotFound);
            }
            let entry = id.replace("bat_", "ent_") + "_1";
            let path = format!("/batch/{id}/entries/{entry}");
            let shown: Value = rig.api.get(&format!("{path}?reveal=true")).await.ok();
            assert_eq!(shown["to"], json!("+15550000001"));
            let answer = rig.api.get(&format!("{path}?show=1")).await;
            answer.invalid(&[("/query/show", "unknown_field")]);
        })
        .await;
}
