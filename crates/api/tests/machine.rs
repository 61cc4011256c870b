//! Sequences of requests, drawn at random and shrunk where they fail: orders and agents'
//! reports in any order, against the real router, rules and dispatcher over memory.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use dialtone_auth::{Capabilities, Secret};
use dialtone_batch::{BatchMetrics, Dispatcher, DispatcherOptions};
use dialtone_clock::{Clock, ScaledClock, Timeline};
use dialtone_livekit::{LiveKit, LiveKitError, NewDispatch};
use dialtone_store::Store;
use dialtone_store::memory::MemoryStore;
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

mod support;

use support::model::{self, Expected, Order};
use support::step::{ENTRIES, Step, step};

const SECRET: &str = "of this test, and of no other one";

static REFERENCE: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&dialtone_api::document()).expect("JSON"));

/// Takes every dispatch.
struct Yes;

#[async_trait]
impl LiveKit for Yes {
    async fn dispatch(&self, new: &NewDispatch) -> Result<String, LiveKitError> {
        Ok(format!("AD_{}", new.room))
    }

    async fn delete_dispatch(&self, _: &str, _: &str) -> Result<(), LiveKitError> {
        Ok(())
    }

    async fn delete_room(&self, _: &str) -> Result<(), LiveKitError> {
        Ok(())
    }
}

struct World {
    router: Router,
    /// Whether the dispatcher works: only where the sequence says so.
    gate: watch::Sender<bool>,
    capabilities: Capabilities,
    batch: String,
    /// Batch and entries as they were seen last.
    seen: (Value, BTreeMap<u64, Value>),
    /// Who won the dial claim, by entry.
    claimed: BTreeMap<u32, &'static str>,
    /// Entries whose agents have said that the call is over.
    closed: BTreeSet<u32>,
    /// Whether a cancel has asked for calls to be hung up.
    hung_up: bool,
    /// Limits as they were changed; null is what the trigger asked for.
    limits: serde_json::Map<String, Value>,
    /// The batch of the failed entries.
    child: Option<Value>,
}

impl World {
    /// Asks, and holds the answer to the reference.
    async fn ask(
        &self,
        method: Method,
        (template, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = Request::builder().method(&method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(|body| body.to_string());
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(body.map_or_else(Body::empty, Body::from)).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        assert!(status < 500, "{method} {path}: {status} {answer}");
        let operation = &REFERENCE["paths"][template][method.as_str().to_ascii_lowercase()];
        let known = &operation["responses"][status.to_string()];
        assert!(known.is_object(), "{method} {template} does not name {status}: {answer}");
        if let Some(code) = answer["code"].as_str() {
            let codes = operation["x-problems"].as_array().expect("codes");
            assert!(codes.iter().any(|one| one == code), "{method} {template}: no {code}");
        }
        (status, answer)
    }

    async fn get(&self, template: &str) -> Value {
        let path = template.replace("{batch_id}", &self.batch);
        let (status, answer) = self.ask(Method::GET, (template, &path), &[], None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn order(&self, method: Method, template: &str, body: Option<&Value>) -> (u16, Value) {
        let path = template.replace("{batch_id}", &self.batch);
        self.ask(method, (template, &path), &[], body).await
    }

    fn call(&self, entry: u32) -> String {
        format!("call_{}_{}_1", self.batch.trim_start_matches("bat_"), entry + 1)
    }

    fn entry(&self, entry: u32) -> String {
        format!("ent_{}_{}", self.batch.trim_start_matches("bat_"), entry + 1)
    }

    /// As the agent of the entry's first attempt.
    async fn agent(&self, entry: u32, template: &str, body: &Value) -> (u16, Value) {
        let call = self.call(entry);
        let bearer = format!("Bearer {}", self.capabilities.mint("demo", &call).expose());
        let path = template.replace("{call_id}", &call);
        self.ask(Method::POST, (template, &path), &[("authorization", &bearer)], Some(body)).await
    }

    async fn trigger(&self, other_body: bool) -> (u16, Value) {
        let body = json!({
            "voice_id": "demo", "initiated_by": 1, "total": ENTRIES + u32::from(other_body),
            "fail_count": 0, "stuck_count": 0, "dropped_count": 0, "seed": 7,
            "options": {"max_retries": 0},
        });
        let path = "/batch/trigger-test-batch";
        let key = [("idempotency-key", "one")];
        self.ask(Method::POST, (path, path), &key, Some(&body)).await
    }

    /// The order as the model answers it; once more, it changes nothing.
    async fn twice(&self, order: Order, template: &str, body: Option<&Value>) {
        let expected = model::order(order, self.batch_state(), self.hung_up);
        let (status, answer) = self.order(Method::POST, template, body).await;
        check(template, expected, (status, &answer));
        if status == 200 {
            let again = self.order(Method::POST, template, body).await;
            check(template, (200, Some(false), None), (again.0, &again.1));
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Dispatch => self.let_dispatch().await,
            Step::Trigger { other_body } => {
                let (status, answer) = self.trigger(*other_body).await;
                assert_eq!(status, if *other_body { 409 } else { 202 }, "{answer}");
                assert!(*other_body || answer["batch_id"] == *self.batch);
            }
            Step::Pause => self.twice(Order::Pause, "/batch/{batch_id}/pause", None).await,
            Step::Resume => self.twice(Order::Resume, "/batch/{batch_id}/resume", None).await,
            Step::Cancel { mode } => self.cancel(mode).await,
            Step::CancelEntry { entry } => {
                let template = "/batch/{batch_id}/entries/{entry_id}/cancel";
                let path = template.replace("{batch_id}", &self.batch);
                let path = path.replace("{entry_id}", &self.entry(*entry));
                let expected = model::cancel_entry(self.seen_of(*entry));
                let (status, answer) = self.ask(Method::POST, (template, &path), &[], None).await;
                check(template, expected, (status, &answer));
            }
            Step::Limit { body } => self.limit(body).await,
            Step::Retry => self.retry().await,
            Step::Claim { entry, claimer } => self.claim(*entry, claimer).await,
            Step::Beat { entry, seq, state } => {
                let path = "/batch/calls/{call_id}/heartbeat";
                let (expected, goes_on) = model::beat(self.seen_of(*entry));
                let body = json!({ "seq": seq, "state": state });
                let (status, answer) = self.agent(*entry, path, &body).await;
                check(path, expected, (status, &answer));
                assert!(status != 200 || answer["continue"] == goes_on, "{answer}");
            }
            Step::Status { entry, status } => {
                let path = "/batch/calls/{call_id}/status";
                let closed = self.closed.contains(entry);
                let expected = model::status(self.seen_of(*entry), status, closed);
                let (got, answer) = self.agent(*entry, path, &json!({ "status": status })).await;
                check(path, expected, (got, &answer));
                if answer["applied"] == true && ["ended", "failed"].contains(status) {
                    self.closed.insert(*entry);
                }
            }
            Step::Complete { entry, attempt, status } => {
                self.complete(*entry, *attempt, status).await;
            }
            Step::Stranger { entry } => {
                let call = self.call(*entry);
                let other = self.capabilities.mint("demo", "call_other_1_1");
                let bearer = format!("Bearer {}", other.expose());
                let path = format!("/batch/calls/{call}/claim");
                let template = ("/batch/calls/{call_id}/claim", path.as_str());
                let headers = [("authorization", bearer.as_str())];
                let (status, answer) = self.ask(Method::POST, template, &headers, None).await;
                assert_eq!((status, answer["code"].as_str()), (401, Some("bad_capability")));
            }
        }
    }

    async fn let_dispatch(&self) {
        self.gate.send_replace(true);
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        self.gate.send_replace(false);
    }

    async fn cancel(&mut self, mode: &str) {
        let template = "/batch/batch-cancel/{batch_id}";
        let body = json!({ "mode": mode });
        if mode == "now" {
            let (status, answer) = self.order(Method::POST, template, Some(&body)).await;
            return check(template, (422, None, Some("invalid")), (status, &answer));
        }
        let hangup = mode == "hangup";
        self.twice(Order::Cancel { hangup }, template, Some(&body)).await;
        self.hung_up |= hangup;
    }

    async fn limit(&mut self, body: &Value) {
        let template = "/batch/{batch_id}";
        let answer = self.order(Method::PATCH, template, Some(body)).await;
        let valid = body["max_concurrent"] != 0 && body["calls_per_second"] != -1.0;
        let mut limits = self.limits.clone();
        for (name, value) in body.as_object().expect("limits") {
            limits.insert(name.clone(), value.clone());
        }
        let expected = if valid {
            model::limit(self.batch_state(), limits != self.limits)
        } else {
            (422, None, Some("invalid"))
        };
        check(template, expected, (answer.0, &answer.1));
        if answer.0 == 200 {
            self.limits = limits;
        }
    }

    /// Asked again, a retry is the same batch.
    async fn retry(&mut self) {
        let template = "/batch/{batch_id}/retry";
        let failed = self.seen.0["failed_calls"].as_u64().expect("a number");
        let expected = model::retry(self.batch_state(), failed);
        let (status, answer) = self.order(Method::POST, template, None).await;
        check(template, expected, (status, &answer));
        if status == 202 {
            assert_ne!(answer["batch_id"], *self.batch);
            let child = self.child.get_or_insert_with(|| answer["batch_id"].clone());
            assert_eq!(*child, answer["batch_id"]);
        }
    }

    async fn claim(&mut self, entry: u32, claimer: &'static str) {
        let template = "/batch/calls/{call_id}/claim";
        let won = self.claimed.get(&entry).copied();
        let expected = model::claim(self.batch_state(), self.seen_of(entry), won, claimer);
        let (status, answer) = self.agent(entry, template, &json!({ "claimer": claimer })).await;
        check(template, expected, (status, &answer));
        if status == 200 {
            self.claimed.insert(entry, claimer);
        }
    }

    /// The same callback again is `applied: false`, another outcome a conflict, and neither
    /// is an event.
    async fn complete(&self, entry: u32, attempt: u32, outcome: &str) {
        let path = "/batch/entry-completed";
        let body = |status: &str| {
            json!({
                "call_id": self.call(entry), "entry_id": self.entry(entry),
                "attempt": attempt, "status": status,
            })
        };
        let expected = model::complete(self.seen_of(entry), attempt, outcome);
        let (status, answer) = self.agent(entry, path, &body(outcome)).await;
        check(path, expected, (status, &answer));
        if status != 200 || answer["state"] == "cancelled" {
            return;
        }
        // What the dispatcher makes of the end is not what the repeated callback makes.
        self.let_dispatch().await;
        let before = self.status().await;
        let (again, repeated) = self.agent(entry, path, &body(outcome)).await;
        check(path, (200, Some(false), None), (again, &repeated));
        for same in ["state", "outcome"] {
            assert_eq!(repeated[same], answer[same], "{repeated}");
        }
        let other = if outcome == "busy" { "completed" } else { "busy" };
        let (conflict, refused) = self.agent(entry, path, &body(other)).await;
        check(path, (409, None, Some("outcome_conflict")), (conflict, &refused));
        assert_eq!(self.status().await["event_seq"], before["event_seq"]);
    }

    fn batch_state(&self) -> &str {
        self.seen.0["status"].as_str().expect("a state")
    }

    fn seen_of(&self, entry: u32) -> &Value {
        &self.seen.1[&u64::from(entry + 1)]
    }

    async fn status(&self) -> Value {
        self.get("/batch/batch-status/{batch_id}").await
    }

    /// What holds after any request: figures add up, events only grow, what has ended stays.
    async fn look(&mut self) {
        let status = self.status().await;
        let n = |name: &str| status[name].as_u64().expect("a number");
        let parts =
            ["completed_calls", "failed_calls", "cancelled_calls", "pending_calls", "in_flight"];
        assert_eq!(parts.map(n).iter().sum::<u64>(), u64::from(ENTRIES), "{status}");
        let ended = |status: &Value| {
            matches!(status["status"].as_str(), Some("completed" | "cancelled" | "failed"))
        };
        let (last, entries) = &self.seen;
        if !last.is_null() {
            assert!(n("event_seq") >= last["event_seq"].as_u64().expect("a number"));
            assert!(n("dials") >= last["dials"].as_u64().expect("a number"));
            assert!(!ended(last) || *last == status, "it moved after its end: {last} {status}");
        }
        let page = self.get("/batch/{batch_id}/entries").await;
        let now: BTreeMap<u64, Value> = page["items"]
            .as_array()
            .expect("entries")
            .iter()
            .map(|entry| (entry["seq"].as_u64().expect("a place"), entry.clone()))
            .collect();
        for (place, before) in entries {
            let over = ["completed", "failed", "cancelled"]
                .contains(&before["state"].as_str().expect("a state"));
            let same = before["state"] == now[place]["state"]
                && before["outcome"] == now[place]["outcome"];
            assert!(!over || same, "an entry moved after its end: {before} {}", now[place]);
        }
        self.seen = (status, now);
    }
}

/// Runs `work`, but only while `open` is true.
async fn gated(work: impl Future<Output = ()>, mut open: watch::Receiver<bool>) {
    let mut work = pin!(work);
    loop {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            _ = open.wait_for(|open| !open) => {}
            () = &mut work => return,
        }
    }
}

fn check(what: &str, expected: Expected, (status, answer): (u16, &Value)) {
    let (want, applied, code) = expected;
    assert_eq!(status, want, "{what}: {answer}");
    assert!(applied.is_none_or(|applied| answer["applied"] == applied), "{what}: {answer}");
    assert!(code.is_none_or(|code| answer["code"] == code), "{what}: {answer}");
}

async fn play(steps: &[Step]) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    store.seed_demo().await.expect("seeded");
    let clock: Arc<dyn Clock> = Arc::new(ScaledClock::new(Timeline::REAL));
    let capabilities = Capabilities::new(&Secret::new(SECRET));
    let options = DispatcherOptions { api_url: String::new(), capabilities: capabilities.clone() };
    let metrics = BatchMetrics::register(&mut Registry::default());
    let dispatcher =
        Dispatcher::new(Arc::clone(&store), Arc::new(Yes), Arc::clone(&clock), options, metrics);
    let dispatcher = dispatcher.await.expect("an epoch");
    let spool = tempfile::tempdir().expect("a folder");
    let stop = CancellationToken::new();
    let (gate, open) = watch::channel(false);
    let working = tokio::spawn(gated(dispatcher.run(stop.clone()), open));
    let mut world = World {
        router: support::router(store, clock, SECRET, spool.path()).await,
        gate,
        capabilities,
        batch: String::new(),
        seen: (Value::Null, BTreeMap::new()),
        claimed: BTreeMap::new(),
        closed: BTreeSet::new(),
        hung_up: false,
        limits: ["max_concurrent", "calls_per_second"]
            .map(|name| (name.to_owned(), Value::Null))
            .into_iter()
            .collect(),
        child: None,
    };
    let (status, answer) = world.trigger(false).await;
    assert_eq!(status, 202, "{answer}");
    world.batch = answer["batch_id"].as_str().expect("an id").to_owned();
    world.look().await;
    for step in steps {
        world.take(step).await;
        world.look().await;
    }
    stop.cancel();
    world.gate.send_replace(true);
    working.await.expect("the dispatcher ends in order");
}

/// Other cases each time; the seed is printed, and `PROPTEST_RNG_SEED` gives it back.
fn config() -> ProptestConfig {
    let given =
        ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let seed = match given.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().hash_one(0),
    };
    eprintln!("PROPTEST_RNG_SEED={seed}");
    ProptestConfig { rng_seed: RngSeed::Fixed(seed), ..given }
}

proptest! {
    #![proptest_config(config())]

    /// The failing sequence is printed, shrunk.
    #[test]
    fn no_sequence_of_requests_breaks_what_holds(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(play(&steps));
    }
}
