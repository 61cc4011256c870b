use dialtone_llm_api::Options;
use dialtone_serve::HttpClient;
use serde_json::{Value, json};

use crate::rig::{Rig, json};

const KEY: &str = "correct-horse-battery";

#[tokio::test]
async fn with_a_key_only_probes_are_open() {
    let rig = Rig::with(Options::default(), Some(KEY));
    rig.open(1).await;
    for open in ["/livez", "/readyz", "/health", "/ready", "/v1/ready"] {
        assert_eq!(rig.get(open).await.status, 200, "{open}");
    }
    for closed in ["/metrics", "/slots", "/info", "/props", "/nothing"] {
        let refused = rig.get(closed).await;
        assert_eq!(refused.status, 401, "{closed}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        assert_eq!(refused.problem().map(|problem| problem.status), Some(401), "{closed}");
    }
    for closed in ["/v1/models", "/v1/nothing"] {
        let refused = rig.get(closed).await;
        assert_eq!(refused.status, 401);
        assert_eq!(json(&refused)["error"]["code"], "invalid_api_key");
    }
    assert_eq!(rig.post("/v1/completions", json!({ "prompt": "a" })).await.status, 401);
    let client = HttpClient::default();
    let url = rig.url("/v1/models");
    let models: Value = client.get_json(&url, Some(KEY)).await.expect("models");
    assert_eq!(models["object"], "list");
    let wrong = client.get_json::<Value>(&url, Some("correct-horse-batterz"));
    assert_eq!(wrong.await.expect_err("refused").status().map(|status| status.as_u16()), Some(401));
}
