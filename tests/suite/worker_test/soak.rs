//! `cargo xtask worker:soak`: what passes, and what must not.

use dialtone_tests::{Ended, Harness};

use super::{Bad, COMMON, check, check_status};

const CLIENTS: [&str; 5] = ["worker:soak", "--clients", "60", "--at-once", "16"];

async fn soak(harness: &Harness, more: &[&str]) -> Ended {
    let args = [CLIENTS.as_slice(), more, COMMON.as_slice()].concat();
    let ended = harness.run_command(&args).await;
    harness.clean().await;
    ended
}

#[tokio::test]
async fn nothing_stays_of_clients_that_leave() {
    let harness = Harness::new();
    let folder = dialtone_tests::bins().to_str().expect("text");
    let document = soak(&harness, &["--bin-dir", folder, "--seed", "7"]).await.document(0);
    let checks = document["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["status"] == "passed"), "{document:#}");
    assert_eq!(document["metrics"]["clients"], 60.0);
    assert!(document["metrics"]["clients_left_early"].as_f64() > Some(30.0), "{document:#}");
}

#[tokio::test]
async fn a_worker_that_keeps_slots_is_seen() {
    let bad = Bad::worker("keeps_slots");
    let folder = bad.folder.to_str().expect("text");
    let document = soak(&bad.harness, &["--bin-dir", folder]).await.document(1);
    // With every slot kept nobody else is served; and they are still kept at the end.
    assert_eq!(check_status(&document, "clients"), "failed", "{document:#}");
    let slots = check(&document, "slots")["detail"].as_str().unwrap_or_default();
    assert!(slots.contains("slots_busy 4"), "{document:#}");
    assert_eq!(check_status(&document, "teardown"), "passed");
}
