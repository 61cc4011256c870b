use std::time::Duration;

use bytes::Bytes;
use dialtone_contract::wire::{BatchStatus, EntryPage, EntryView, TriggerResponse};
use dialtone_serve::{ClientError, HttpClient};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use serde_json::Value;

use crate::wait::within;
use crate::{Answer, TestBatch};

/// Where test batches are triggered.
pub(crate) const TRIGGER: &str = "/batch/trigger-test-batch";

/// Bytes of a request's body that a failure shows.
const SHOWN_BYTES: usize = 300;

/// One request as a whole; long polls take up to 20 s.
const REQUEST: Duration = Duration::from_secs(30);

/// An HTTP API, spoken to as an outsider does.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    http: HttpClient,
}

impl Api {
    /// The API at `base`, without a slash at the end.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), http: HttpClient::default().with_timeout(REQUEST) }
    }

    /// The base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends any request.
    ///
    /// # Errors
    /// If no whole answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<Answer, ClientError> {
        let said = body.as_deref().unwrap_or_default();
        let said = String::from_utf8_lossy(&said[..said.len().min(SHOWN_BYTES)]);
        let asked = format!("{method} {path} {said}");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header name");
            map.append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let response = self.http.request(method, &format!("{}{path}", self.base), map, body).await;
        Ok(Answer::new(asked, response?))
    }

    /// Gets `path`.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// Gets `path` with headers.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, None).await.expect("an answer")
    }

    /// Posts JSON, with a bearer where there is one.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn post(&self, path: &str, bearer: Option<&str>, body: &Value) -> Answer {
        let credential = bearer.map(|bearer| format!("Bearer {bearer}"));
        let mut headers = vec![(CONTENT_TYPE.as_str(), "application/json")];
        headers.extend(credential.as_deref().map(|value| (AUTHORIZATION.as_str(), value)));
        let body = Bytes::from(body.to_string());
        self.send(Method::POST, path, &headers, Some(body)).await.expect("an answer")
    }

    /// Posts a body as it is to the trigger of test batches.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn post_trigger(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let sent = self.send(Method::POST, TRIGGER, headers, Some(body.into())).await;
        sent.expect("an answer")
    }

    /// Asks for a test batch, with an idempotency key where there is one.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn ask(&self, batch: &TestBatch, key: Option<&str>) -> Answer {
        let mut headers = vec![(CONTENT_TYPE.as_str(), "application/json")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.post_trigger(&headers, batch.json().to_string()).await
    }

    /// Triggers a test batch and gives its id.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn trigger(&self, batch: &TestBatch) -> String {
        let answer: TriggerResponse = self.ask(batch, None).await.expect(202);
        answer.batch_id.to_string()
    }

    /// Triggers a test batch; `None` if the server went away before it answered.
    ///
    /// # Panics
    /// If it answers anything but that the batch is accepted.
    pub async fn try_trigger(&self, batch: &TestBatch) -> Option<String> {
        let headers = [(CONTENT_TYPE.as_str(), "application/json")];
        let body = Bytes::from(batch.json().to_string());
        let answer = self.send(Method::POST, TRIGGER, &headers, Some(body)).await.ok()?;
        Some(answer.expect::<TriggerResponse>(202).batch_id.to_string())
    }

    /// The status of a batch.
    ///
    /// # Panics
    /// If there is none.
    pub async fn status(&self, batch: &str) -> BatchStatus {
        self.get(&format!("/batch/batch-status/{batch}")).await.expect(200)
    }

    /// Every batch, newest first.
    ///
    /// # Panics
    /// If the listing fails.
    pub async fn batches(&self) -> Vec<BatchStatus> {
        let page = self.get("/batch").await.ok();
        serde_json::from_value(page["items"].clone()).expect("statuses")
    }

    /// The status once it is as wanted; follows the long poll.
    ///
    /// # Panics
    /// If it does not become so within the ceiling.
    pub async fn followed(
        &self,
        batch: &str,
        ceiling: Duration,
        what: &str,
        wanted: impl Fn(&BatchStatus) -> bool,
    ) -> BatchStatus {
        let path = format!("/batch/batch-status/{batch}?wait=500ms");
        within(ceiling, what, async || {
            let status: BatchStatus = self.get(&path).await.expect(200);
            if wanted(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
    }

    /// The status of a batch that has ended well.
    ///
    /// # Panics
    /// If it does not end within the ceiling, or ends otherwise.
    pub async fn completed(&self, batch: &str, ceiling: Duration) -> BatchStatus {
        let what = format!("the end of {batch}");
        let ended = |status: &BatchStatus| status.status.is_terminal();
        let status = self.followed(batch, ceiling, &what, ended).await;
        assert_eq!(status.status.as_str(), "completed", "{status:?}");
        status
    }

    /// Every entry of a batch with its attempts.
    ///
    /// # Panics
    /// If the listing fails.
    pub async fn entries(&self, batch: &str) -> Vec<EntryView> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/batch/{batch}/entries?limit=1000{cursor}");
            let page: EntryPage = self.get(&path).await.expect(200);
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}
