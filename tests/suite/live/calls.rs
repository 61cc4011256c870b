//! A live batch and the agent that serves it.

use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_tests::{Hands, Setup, live_batch};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_agent_gets_the_variables_with_the_job_and_the_number_with_the_claim() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut agent = Hands::register_live(rig.livekit.api()).await;
            let variables = json!({ "name": "Ada", "debt": { "eur": 12.5 } });
            let entries = json!([{ "to": "+15550000001", "variables": variables }]);
            let taken: Value = rig.api.ask_live(&live_batch(&entries), None).await.expect(202);
            let batch = taken["batch_id"].as_str().expect("an id").to_owned();
            let hand = agent.next().await;
            let metadata = serde_json::to_value(hand.metadata()).expect("plain data");
            assert_eq!(metadata["variables"], variables);
            assert_eq!(metadata["voice_id"], "demo");
            assert!(!metadata.to_string().contains("5550000"), "the number comes with the claim");
            // Nobody has been on the line yet.
            hand.post("opt-out", &json!({})).await.refused(ErrorCode::NotClaimed);
            let claim = hand.post("claim", &json!({ "claimer": hand.job_id })).await.ok();
            assert_eq!(claim["to"], "+15550000001");
            hand.post("status", &json!({ "status": "in_call" })).await.ok();
            let listed = rig.api.get("/suppressions").await.ok();
            assert_eq!(listed["items"], json!([]));
            let said = hand.post("opt-out", &json!({})).await.ok();
            assert_eq!(said, json!({ "applied": true, "state": "in_call" }));
            let said = hand.post("opt-out", &json!({})).await.ok();
            assert_eq!(said, json!({ "applied": false, "state": "in_call" }));
            hand.report("completed").await.ok();
            let status = rig.api.completed(&batch, LONG).await;
            assert_eq!((status.completed_calls, status.dials), (1, 1));
            // A late repetition does no harm, and a stranger's word counts nothing.
            let said = hand.post("opt-out", &json!({})).await.ok();
            assert_eq!(said, json!({ "applied": false, "state": "completed" }));
            let path = format!("/batch/calls/{}/opt-out", hand.call_id());
            for bearer in [None, Some("cap1.demo.x")] {
                let answer = rig.api.post(&path, bearer, &json!({})).await;
                answer.refused(ErrorCode::BadCapability);
            }
            let listed = rig.api.get("/suppressions").await.ok();
            let source = format!("opt_out:{}", hand.call_id());
            assert_eq!(listed["items"][0]["source"], source.as_str());
            assert!(!listed.to_string().contains("5550000"), "{listed}");
            // The next batch leaves the number alone, and says why.
            let taken: Value = rig.api.ask_live(&live_batch(&entries), None).await.expect(202);
            let batch = taken["batch_id"].as_str().expect("an id").to_owned();
            let status = rig.api.completed(&batch, LONG).await;
            assert_eq!((status.failed_calls, status.attempts), (1, 0));
            let entries = rig.api.entries(&batch).await;
            assert_eq!(entries[0].outcome.map(|o| o.as_str()), Some("suppressed"));
            assert!(!rig.logs().contains("5550000"), "a number in the logs");
            agent.leave().await;
        })
        .await;
}
