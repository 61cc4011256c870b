use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_contract::wire::Heartbeat;
use dialtone_serve::HttpClient;
use dialtone_serve::client::ClientLimits;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Uri};

/// Where a hive takes heartbeats, below its URL.
const PATH: &str = "/heartbeat/workers";
/// A hive's answer is not read for its content.
const ANSWER_BYTES: usize = 64 * 1024;

/// Base URL of a hive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiveUrl(String);

/// A URL that cannot be a hive's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an http:// URL without credentials, query and fragment")]
pub struct HiveUrlError(String);

impl FromStr for HiveUrl {
    type Err = HiveUrlError;

    /// With or without a slash at the end.
    fn from_str(text: &str) -> Result<Self, HiveUrlError> {
        let bad = || HiveUrlError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        if !plain || authority.as_str().contains('@') || text.contains('#') {
            return Err(bad());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for HiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A connection to a hive.
pub struct Hive {
    url: String,
    client: HttpClient,
}

impl Hive {
    pub fn new(url: &HiveUrl, timeout: Duration) -> Self {
        let limits = ClientLimits { timeout, connect: timeout, response_bytes: ANSWER_BYTES };
        Self { url: format!("{url}{PATH}"), client: HttpClient::new(limits) }
    }

    /// Any 2xx is taken as heard; otherwise says why not.
    pub async fn send(&self, beat: &Heartbeat) -> Result<(), String> {
        let body = serde_json::to_vec(beat).map_err(|error| error.to_string())?;
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let sent = self.client.request(Method::POST, &self.url, headers, Some(Bytes::from(body)));
        match sent.await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status)),
            Err(error) => Err(chain(&error)),
        }
    }
}

/// An error with what lies below it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        let url = |text: &str| text.parse::<HiveUrl>().map(|url| url.to_string());
        assert_eq!(url("http://127.0.0.1:8080/"), Ok("http://127.0.0.1:8080".to_owned()));
        assert_eq!(url("http://hive/base"), Ok("http://hive/base".to_owned()));
        for bad in ["", "hive:8080", "https://hive", "http://a:b@hive", "http://hive?a=b", "/x"] {
            assert!(url(bad).is_err(), "{bad} was taken");
        }
    }
}
