use axum::Router;
use axum::routing::get;
use dialtone_contract::ErrorCode;
use dialtone_serve::Limits;
use dialtone_serve::health::Health;
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;

use crate::support::Server;

fn start(health: &Health) -> Server {
    let routes = Router::new()
        .route("/ok", get(async || "fine"))
        .route("/panic", get(async || -> () { panic!("on purpose") }));
    Server::start(health.observe(routes.merge(health.routes())), Limits::default())
}

#[tokio::test]
async fn live_whatever_else_and_ready_without_reasons() {
    let health = Health::start();
    let server = start(&health);
    assert_eq!(server.ask("GET /readyz HTTP/1.1", "").await.status(), 200);

    health.not_ready("livekit", "no connection");
    health.not_ready("store", "migrating");
    let answer = server.ask("GET /readyz HTTP/1.1", "").await;
    assert_eq!(answer.problem().code, ErrorCode::NotReady);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let body: Value = serde_json::from_str(answer.body()).expect("JSON");
    assert_eq!(body["reasons"]["livekit"], "no connection");
    assert_eq!(body["reasons"]["store"], "migrating");

    let live = server.ask("GET /livez HTTP/1.1", "").await;
    assert_eq!(live.status(), 200);
    let body: Value = serde_json::from_str(live.body()).expect("JSON");
    assert_eq!(body["pid"], std::process::id());
    assert!(body["loop_lag_max_ms"].is_u64(), "{body}");

    health.ready("livekit");
    assert_eq!(server.ask("GET /readyz HTTP/1.1", "").await.status(), 503);
    health.ready("store");
    assert!(health.is_ready());
    assert_eq!(server.ask("GET /readyz HTTP/1.1", "").await.status(), 200);
}

#[tokio::test]
async fn metrics_count_requests_and_hold_what_others_register() {
    let health = Health::start();
    let calls = Counter::<u64>::default();
    health.registry().register("calls", "Calls", calls.clone());
    calls.inc_by(7);
    let server = start(&health);
    for head in ["GET /ok", "GET /ok", "POST /ok", "GET /none", "BREW /none", "GET /panic"] {
        server.ask(&format!("{head} HTTP/1.1"), "").await;
    }
    let answer = server.ask("GET /metrics HTTP/1.1", "").await;
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    for line in [
        "http_requests_total{method=\"GET\",status=\"200\"} 2",
        "http_requests_total{method=\"POST\",status=\"405\"} 1",
        "http_requests_total{method=\"GET\",status=\"404\"} 1",
        "http_requests_total{method=\"other\",status=\"404\"} 1",
        "http_requests_total{method=\"GET\",status=\"500\"} 1",
        "http_request_duration_seconds_count 6",
        "http_request_duration_seconds_bucket{le=\"0.005\"}",
        "http_request_duration_seconds_bucket{le=\"5.0\"} 6",
        "loop_lag_max_seconds ",
        "calls_total 7",
        "# EOF",
    ] {
        assert!(answer.body().contains(line), "no {line} in\n{}", answer.body());
    }
}
