use std::error::Error;

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;
use dialtone_contract::{FieldError, Problem};
use hyper::Uri;
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;

use super::{ProblemResponse, pointer};

/// The query of the URL: 422 with the pointer `/query/NAME` for a parameter that is not
/// valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> Query<T> {
    /// The query of `uri`.
    ///
    /// # Errors
    /// 422 if a parameter is not valid.
    pub fn of(uri: &Uri) -> Result<Self, Box<Problem>> {
        axum::extract::Query::try_from_uri(uri)
            .map(|query| Self(query.0))
            .map_err(|rejection| Box::new(Problem::invalid(vec![refusal(&rejection, uri)])))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ProblemResponse> {
        Ok(Self::of(&parts.uri)?)
    }
}

type Located = serde_path_to_error::Error<serde::de::value::Error>;

fn refusal(rejection: &QueryRejection, uri: &Uri) -> FieldError {
    let mut causes = std::iter::successors(rejection.source(), |&error| error.source());
    let Some(error) = causes.find_map(|error| error.downcast_ref::<Located>()) else {
        return FieldError::new("/query", "invalid", rejection.body_text());
    };
    let name = match error.path().iter().next() {
        Some(serde_path_to_error::Segment::Map { key }) => Some(key.as_str()),
        _ => None,
    };
    let message = error.inner().to_string();
    let at = name.map_or_else(|| "/query".to_owned(), |name| pointer::join("/query", name));
    let mut refusal = pointer::field_error(at, &message);
    if refusal.code == "invalid"
        && let Some(code) = name.and_then(|name| number_code(&message, &value(uri, name)?))
    {
        code.clone_into(&mut refusal.code);
    }
    refusal
}

/// Every parameter is text; what a number lacks shows only in the parser's message.
fn number_code(message: &str, value: &str) -> Option<&'static str> {
    let about_number = message.starts_with("invalid digit found")
        || message.starts_with("number too")
        || message.starts_with("cannot parse integer")
        || message.starts_with("invalid float");
    let whole = value.strip_prefix('-').unwrap_or(value);
    let is_whole = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
    about_number.then_some(if is_whole { "out_of_range" } else { "wrong_type" })
}

fn value(uri: &Uri, name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(uri).ok()?.0;
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading is looked at")]
    struct Page {
        limit: u32,
        #[serde(default)]
        reveal: bool,
    }

    #[test]
    fn a_parameter_that_is_not_valid_is_named() {
        let cases = [
            ("limit=-1", "/query/limit", "out_of_range"),
            ("limit=4294967296", "/query/limit", "out_of_range"),
            ("limit=x", "/query/limit", "wrong_type"),
            ("limit=", "/query/limit", "wrong_type"),
            ("limit=1&reveal=maybe", "/query/reveal", "invalid"),
            ("limit=1&foo=2", "/query/foo", "unknown_field"),
            ("", "/query/limit", "missing"),
            ("limit=1&limit=2", "/query/limit", "invalid"),
        ];
        for (query, pointer, code) in cases {
            let uri: Uri = format!("/page?{query}").parse().expect("a URI");
            let rejection =
                axum::extract::Query::<Page>::try_from_uri(&uri).map(|_| ()).expect_err(query);
            let refusal = refusal(&rejection, &uri);
            assert_eq!(
                (refusal.pointer.as_str(), refusal.code.as_str()),
                (pointer, code),
                "{query}"
            );
        }
    }
}
