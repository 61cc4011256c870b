use std::collections::BTreeMap;
use std::time::Duration;

use dialtone_contract::wire::Report;
use dialtone_contract::{BatchState, ErrorCode, Outcome};
use dialtone_tests::wait::soon;
use dialtone_tests::{Rig, Setup, TestBatch};
use serde_json::{Value, json};

/// A whole batch on a slow and busy machine.
const BATCH: Duration = Duration::from_secs(60);

async fn summary(rig: &Rig, batch: &str) -> Report {
    rig.api.get(&format!("/batch/{batch}/report?entries=false")).await.expect(200)
}

#[tokio::test]
async fn a_report_says_what_came_of_every_attempt() {
    Setup::at(30)
        .run(async |rig| {
            let batch = TestBatch::of(10, 3, 2, 0).talk_s(8.0).seed(5);
            let id = rig.api.trigger(&batch).await;
            let status = rig.api.completed(&id, BATCH).await;
            let report = summary(rig, &id).await;
            let broken: Vec<_> = report.invariants.iter().filter(|one| !one.holds).collect();
            assert!(broken.is_empty() && report.invariants.len() >= 10, "{broken:?}");
            assert_eq!((report.status, report.partial), (BatchState::Completed, false));
            assert_eq!((report.seed, report.mode.as_str()), (Some(5), "test"));
            assert_eq!(report.by_outcome, status.by_outcome);
            assert_eq!((report.attempts, report.dials), (8 + 2 * 3, 8));
            assert_eq!(report.attempts_histogram, BTreeMap::from([(1, 8), (3, 2)]));
            let begun: Vec<_> = report.by_attempt.iter().map(|n| (n.attempt, n.begun)).collect();
            assert_eq!(begun, [(1, 10), (2, 2), (3, 2)]);
            assert_eq!(
                report.by_attempt[2].by_outcome,
                BTreeMap::from([(Outcome::TimeoutUnclaimed, 2)])
            );
            assert_eq!((report.retries.total, report.timeouts.total), (4, 6));
            assert_eq!(report.timeouts.evidence.len(), 6);
            let seen = &report.timeouts.evidence[0];
            assert!(seen.last_seen.contains("LiveKit took the dispatch"), "{seen:?}");
            assert!(seen.ended_at.expect("ended") > seen.last_seen_at);
            let durations = &report.durations_ms;
            assert_eq!((durations.queue.count, durations.claim.count), (14, 8));
            let talk = durations.talk;
            assert_eq!(talk.count, 8);
            assert!(talk.p50 > 7_000.0 && talk.p50 <= talk.p99 && talk.p99 <= talk.max, "{talk:?}");
            assert!(report.drained_at <= status.finished_at);
            assert_eq!((report.rejected_rows, report.suppressed_calls), (0, 0));
            assert_eq!(report.config_sha256.len(), 64);
            // The same request has the same configuration, whatever else differs.
            let twin = rig.api.trigger(&batch).await;
            let other = rig.api.trigger(&batch.seed(6)).await;
            for id in [&twin, &other] {
                rig.api.completed(id, BATCH).await;
            }
            assert_eq!(summary(rig, &twin).await.config_sha256, report.config_sha256);
            assert_ne!(summary(rig, &other).await.config_sha256, report.config_sha256);
        })
        .await;
}

#[tokio::test]
async fn a_report_has_every_entry_in_every_form() {
    Setup::at(60)
        .run(async |rig| {
            let id = rig.api.trigger(&TestBatch::of(12, 4, 1, 0).seed(5)).await;
            for form in ["report", "report.json", "report.csv"] {
                let answer = rig.api.get(&format!("/batch/{id}/{form}")).await;
                answer.refused(ErrorCode::ReportNotReady);
                let answer = rig.api.get(&format!("/batch/bat_0/{form}")).await;
                answer.refused(ErrorCode::NotFound);
            }
            rig.api.completed(&id, BATCH).await;
            let path = format!("/batch/{id}/report");
            let whole = rig.api.get(&path).await;
            let document: Value = whole.ok();
            assert_eq!(document["entries"], json!(rig.api.entries(&id).await));
            assert!(document["analysis"].is_null());
            let alone: Value = rig.api.get(&format!("{path}?entries=false")).await.ok();
            let mut without = document.clone();
            without.as_object_mut().and_then(|members| members.remove("entries"));
            assert_eq!(alone, without);
            // The same bytes, under each name, and after a restart.
            let csv = rig.api.get(&format!("{path}.csv")).await;
            assert_eq!(rig.api.get(&format!("{path}.json")).await.text(), whole.text());
            rig.dialtone.kill().await;
            soon("the restart", rig.dialtone.restart()).await;
            assert_eq!(rig.api.get(&path).await.text(), whole.text());
            assert_eq!(rig.api.get(&format!("{path}.csv")).await.text(), csv.text());
            // A line for the names, and one for each of 11 + 3 attempts.
            let text = csv.text();
            let lines: Vec<&str> = text.trim_end().split("\r\n").collect();
            assert_eq!(lines.len(), 1 + 11 + 3, "{text}");
            assert!(csv.header("content-type").is_some_and(|media| media.starts_with("text/csv")));
            assert!(csv.header("content-disposition").is_some_and(|name| name.contains(&id)));
            let columns = lines[0].split(',').count();
            assert!(lines.iter().all(|line| line.split(',').count() == columns), "{text}");
            assert!(!text.contains("+15550000") && text.contains(",'+1555***"), "{text}");
            let shown = rig.api.get(&format!("{path}.csv?reveal=true")).await.text();
            assert!(shown.contains(",'+15550000001,"), "{shown}");
            for (query, pointer) in [("?reveal=2", "/query/reveal"), ("?x=1", "/query/x")] {
                let answer = rig.api.get(&format!("{path}.csv{query}")).await;
                assert_eq!(answer.refused(ErrorCode::Invalid).errors[0].pointer, pointer);
            }
        })
        .await;
}

#[tokio::test]
async fn the_report_of_a_cancelled_batch_is_partial() {
    Setup::at(30)
        .run(async |rig| {
            let batch = TestBatch::of(20, 0, 0, 0).talk_s(30.0).with("/options/max_concurrent", 2);
            let id = rig.api.trigger(&batch).await;
            let two = |status: &dialtone_contract::wire::BatchStatus| status.dials >= 2;
            rig.api.followed(&id, BATCH, "two dials", two).await;
            let cancel = format!("/batch/batch-cancel/{id}");
            rig.api.post(&cancel, None, &json!({ "mode": "drain" })).await.ok();
            let ended = |status: &dialtone_contract::wire::BatchStatus| status.status.is_terminal();
            let status = rig.api.followed(&id, BATCH, "the end", ended).await;
            assert_eq!(status.status, BatchState::Cancelled);
            let path = format!("/batch/{id}/report");
            assert_eq!(status.report_url.as_deref(), Some(path.as_str()));
            let report = summary(rig, &id).await;
            assert_eq!((report.status, report.partial), (BatchState::Cancelled, true));
            assert_eq!(report.cancelled_calls, status.cancelled_calls);
            assert_eq!(report.attempts_histogram.values().sum::<u32>(), 20);
            assert!(report.attempts_histogram[&0] >= 10, "{report:?}");
            assert!(report.invariants.iter().all(|one| one.holds), "{:?}", report.invariants);
            // An entry that was never called has a line of its own.
            let csv = rig.api.get(&format!("{path}.csv")).await.text();
            let idle = csv.lines().filter(|line| line.ends_with(",,,,,,,,,,,")).count();
            assert_eq!(idle, report.attempts_histogram[&0] as usize, "{csv}");
            rig.verify(&id).await;
        })
        .await;
}
