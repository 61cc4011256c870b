//! The API key, without which a worker is reached from its own machine only.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::problem::ProblemResponse;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

use crate::refusal::{PREFIX, Refusal};

/// What is asked of every worker, by machines that have no key.
const OPEN: [&str; 5] = ["/livez", "/readyz", "/health", "/ready", "/v1/ready"];
/// Fewer characters can be guessed.
const SHORTEST: usize = 16;

/// What every caller must send as `Authorization: Bearer ..`. No `Display`, and a `Debug` that
/// tells nothing.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too few characters.
    #[error("the API key has fewer than {SHORTEST} characters")]
    Short,
    /// It could not be sent in a header.
    #[error("the API key has characters that are not printable ASCII")]
    NotText,
}

impl ApiKey {
    /// A key. White space around it is not part of it.
    ///
    /// # Errors
    /// If it is too short or cannot be sent.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let key = text.trim();
        if key.len() < SHORTEST {
            return Err(KeyError::Short);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::NotText);
        }
        Ok(Self(key.into()))
    }

    /// Whether the headers carry the key. Takes as long for a wrong key as for the right one of
    /// the same length.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (sent.next(), sent.next()) else { return false };
        let Some((scheme, sent)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        let differ = sent
            .iter()
            .zip(self.0.as_bytes())
            .fold(0, |differ, (a, b)| black_box(differ | (a ^ b)));
        scheme.eq_ignore_ascii_case(b"Bearer ") & (sent.len() == self.0.len()) & (differ == 0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Lets through who has the key, and the probes.
pub async fn guard(State(key): State<ApiKey>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) || key.is_in(request.headers()) {
        return next.run(request).await;
    }
    if path.starts_with(PREFIX) {
        return Refusal::key().into_response();
    }
    let problem = Problem::new(ErrorCode::Unauthorized, "");
    let mut response = ProblemResponse(problem).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn sends(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        ApiKey::new(KEY).expect("a key").is_in(&headers)
    }

    #[test]
    fn only_the_whole_key_opens() {
        assert!(sends(&format!("Bearer {KEY}")));
        assert!(sends(&format!("bearer {KEY}")));
        let wrong = ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef"];
        for value in wrong {
            assert!(!sends(value), "{value} was let in");
        }
        assert!(!sends(&format!("Bearer {KEY}0")));
        assert!(!sends(&format!("Bearer {}", &KEY[..15])));
        assert!(!ApiKey::new(KEY).expect("a key").is_in(&HeaderMap::new()));
    }

    #[test]
    fn two_keys_are_none() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(AUTHORIZATION, format!("Bearer {KEY}").parse().expect("a header"));
        }
        assert!(!ApiKey::new(KEY).expect("a key").is_in(&headers));
    }

    #[test]
    fn a_key_must_be_hard_to_guess_and_can_be_sent() {
        assert_eq!(ApiKey::new(" short\n").map(|_| ()), Err(KeyError::Short));
        assert_eq!(ApiKey::new("0123456789 abcdef").map(|_| ()), Err(KeyError::NotText));
        assert!(ApiKey::new("0123456789abcdef\n").is_ok());
        assert_eq!(format!("{:?}", ApiKey::new(KEY)), "Ok(ApiKey(..))");
    }
}
