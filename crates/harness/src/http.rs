//! Talking to the stack the way an outsider does.

use std::time::Duration;

use dialtone_serve::client::Response;
use dialtone_serve::{ClientError, HttpClient};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A client with short words for what the harness asks.
#[derive(Clone, Debug, Default)]
pub struct Http(HttpClient);

impl Http {
    /// Gets what is there; an answer is `Ok` whatever its status.
    ///
    /// # Errors
    /// If no whole answer came in time.
    pub async fn get(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        self.send("GET", url, headers, None, timeout).await
    }

    /// Gets a JSON document.
    ///
    /// # Errors
    /// If it did not come, or is not one of these.
    pub async fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        self.0.with_timeout(timeout).get_json(url, None).await
    }

    /// Posts `body` as JSON; an answer is `Ok` whatever its status.
    ///
    /// # Errors
    /// If no whole answer came in time.
    pub async fn post<B: Serialize>(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &B,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|_| ClientError::BadRequest { reason: "the body cannot be written" })?;
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send("POST", url, &all, Some(body), timeout).await
    }

    async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let plain =
            headers.iter().map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
        let (Ok(method), Some(map)) = (method.parse(), plain.collect()) else {
            let reason = "a header or the method is not plain text";
            return Err(ClientError::BadRequest { reason });
        };
        self.0.with_timeout(timeout).request(method, url, map, body.map(Into::into)).await
    }
}

/// Reads the document of a 2xx answer.
///
/// # Errors
/// In words, if it is another answer: the status, and the problem where it was one.
pub fn read<T: DeserializeOwned>(what: &str, answer: &Response) -> Result<T, String> {
    if !answer.status.is_success() {
        let told = answer.problem().map_or_else(String::new, |problem| {
            let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
            format!(" {}: {detail}", problem.code.as_str())
        });
        return Err(format!("{what} answered {}{told}", answer.status.as_u16()));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the answer of {what} is not as expected: {error}"))
}

/// An error with what caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
