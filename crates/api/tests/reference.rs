//! The API reference and the routes: one cannot change without the other.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::ALLOW;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use dialtone_api::{Access, Api, Streams, Uploads, document, routes};
use dialtone_auth::{Capabilities, NumberKeys, Secret};
use dialtone_batch::{BatchMetrics, Calls, Control, Intake, SuppressionList};
use dialtone_clock::{Clock, ScaledClock, Timeline};
use dialtone_contract::ErrorCode;
use dialtone_store::Store;
use dialtone_store::memory::MemoryStore;
use dialtone_store::memory_access::MemoryAccess;
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Paths that every server process has, whatever it serves.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

fn reference() -> Value {
    serde_json::from_str(&document()).expect("JSON")
}

/// Method, path and annotation of every operation.
fn operations(reference: &Value) -> Vec<(Method, &str, &Value)> {
    let paths = reference["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("operations");
        item.iter().map(move |(method, operation)| {
            let method = method.to_ascii_uppercase().parse().expect("a method");
            (method, path.as_str(), operation)
        })
    });
    all.collect()
}

async fn router() -> axum::Router {
    let access = Access::new(Arc::new(MemoryAccess::default()), Vec::new()).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(Timeline::REAL));
    let secret = Secret::new("of this test");
    let metrics = BatchMetrics::register(&mut Registry::default());
    routes(Api {
        intake: Intake::new(Arc::clone(&store), Arc::clone(&clock), NumberKeys::new(&secret)),
        control: Control::new(Arc::clone(&store), Arc::clone(&clock)),
        suppressions: SuppressionList::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            NumberKeys::new(&secret),
        ),
        uploads: Uploads::in_dir(std::env::temp_dir().join("dialtone-reference-test")),
        calls: Calls::new(Arc::clone(&store), Arc::clone(&clock), metrics),
        store,
        access: Arc::new(access.expect("read")),
        capabilities: Capabilities::new(&secret),
        streams: Streams::new(CancellationToken::new()),
        clock,
        trouble: None,
    })
}

async fn ask(method: &Method, path: &str) -> Response {
    // Any value does for what a path names: whether it exists is the handler's affair.
    let mut parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    let path = parts.by_ref().collect::<Vec<_>>().join("/");
    let request = Request::builder().method(method).uri(path).body(Body::empty());
    router().await.oneshot(request.expect("a request")).await.expect("infallible")
}

#[test]
fn the_committed_reference_is_the_present_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == document(),
        "docs/openapi.json is out of date; renew it with\n\
         cargo run -p dialtone -- openapi > docs/openapi.json"
    );
}

#[tokio::test]
async fn every_operation_has_a_route_and_no_other_method_does() {
    let reference = reference();
    let documented = operations(&reference);
    for &(ref method, path, _) in documented.iter().filter(|(_, path, _)| !PROBES.contains(path)) {
        let response = ask(method, path).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        // The router's own refusals have no body; a handler's are problems.
        let unrouted = matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        assert!(!(unrouted && body.is_empty()), "{method} {path} is documented and not routed");

        let refused = ask(&Method::TRACE, path).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = refused.headers()[ALLOW].to_str().expect("text");
        let methods = allow.split(',').filter(|method| *method != "HEAD");
        for method in methods {
            let known = documented.iter().any(|(m, p, _)| m == method && *p == path);
            assert!(known, "{method} {path} is routed and not documented");
        }
    }
}

#[test]
fn no_route_goes_around_the_reference() {
    // `routes!` takes annotated handlers only; the other ways into a router take any.
    let source = include_str!("../src/lib.rs");
    for way in [".route(", ".route_service(", ".nest_service(", ".fallback("] {
        assert!(!source.contains(way), "`{way}` adds what the reference does not know");
    }
}

#[test]
fn operations_are_named_once_and_explained() {
    let reference = reference();
    assert_eq!(reference["openapi"], "3.1.0");
    let tags: Vec<_> = reference["tags"].as_array().expect("tags").iter().collect();
    let mut seen = std::collections::BTreeSet::new();
    for (method, path, operation) in operations(&reference) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect("an id");
        assert!(seen.insert(id.to_owned()), "{place}: `{id}` names another operation too");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{place}");
        let tag = &operation["tags"][0];
        assert!(tags.iter().any(|known| known["name"] == *tag), "{place}: no tag {tag}");
    }
}

#[test]
fn every_problem_is_of_the_registry_and_under_its_status() {
    let reference = reference();
    for (method, path, operation) in operations(&reference) {
        let codes: Vec<ErrorCode> =
            serde_json::from_value(operation["x-problems"].clone()).expect("codes");
        for code in codes {
            let status = code.status().to_string();
            let response = &operation["responses"][&status];
            let content = &response["content"]["application/problem+json"]["schema"]["$ref"];
            let place = format!("{method} {path} {status}");
            assert_eq!(content, "#/components/schemas/Problem", "{place}");
            let description = response["description"].as_str().expect("a description");
            assert!(description.contains(code.as_str()), "{place}: {description}");
        }
    }
}
