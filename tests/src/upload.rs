use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::{Answer, Api};

/// Where live batches are triggered.
const LIVE: &str = "/batch/trigger-batch-call";

/// A live batch that is good, by JSON.
pub fn live_batch(entries: &Value) -> Value {
    json!({ "voice_id": "demo", "initiated_by": 1, "entries": entries })
}

impl Api {
    /// Asks for a live batch by JSON, with an idempotency key where there is one.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn ask_live(&self, body: &Value, key: Option<&str>) -> Answer {
        self.upload("", "application/json", body.to_string(), key).await
    }

    /// Asks for a live batch by a table, with further query parameters.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn ask_table(&self, more: &str, table: impl Into<Bytes>) -> Answer {
        let query = format!("?voice_id=demo&initiated_by=1{more}");
        self.upload(&query, "text/csv", table, None).await
    }

    /// Uploads any body to the trigger of live batches.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn upload(
        &self,
        query: &str,
        kind: &str,
        body: impl Into<Bytes>,
        key: Option<&str>,
    ) -> Answer {
        let mut headers = vec![("content-type", kind)];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let path = format!("{LIVE}{query}");
        let sent = self.send(Method::POST, &path, &headers, Some(body.into())).await;
        sent.expect("an answer")
    }
}
