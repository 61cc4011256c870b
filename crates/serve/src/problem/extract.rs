use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dialtone_contract::{ErrorCode, Problem};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ProblemResponse, pointer};
use crate::body::timed_out;

/// A JSON body, in and out. In: 415 for another content type, 413 too large, 408 too
/// slow, 400 not JSON, 422 with a pointer to the field that is not valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned + Serialize, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        if !is_json(request.headers()) {
            return Err(ErrorCode::UnsupportedType.into());
        }
        let RawBody(body) = RawBody::from_request(request, state).await?;
        Ok(Self(pointer::read(&body)?))
    }
}

/// A [`Json`] body that may be left out: `None` for an empty one, whatever its type, and for
/// `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalJson<T>(pub Option<T>);

impl<T: DeserializeOwned + Serialize, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        let typed = is_json(request.headers());
        let RawBody(body) = RawBody::from_request(request, state).await?;
        match (body.is_empty(), typed) {
            (true, _) => Ok(Self(None)),
            (false, false) => Err(ErrorCode::UnsupportedType.into()),
            (false, true) => Ok(Self(pointer::read(&body)?)),
        }
    }
}

/// A body as it came, of any type: 413 too large, 408 too slow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ProblemResponse> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ErrorCode::TooLarge.into()
            } else {
                body_failure(&rejection).into()
            }
        })
    }
}

/// The problem with a body that did not arrive whole, for handlers that take it as a
/// stream: 408 too slow, 400 broken off.
pub fn body_failure(error: &(dyn std::error::Error + 'static)) -> Problem {
    if timed_out(error) {
        Problem::new(ErrorCode::RequestTimeout, "")
    } else {
        Problem::new(ErrorCode::BadRequest, "the body broke off")
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}
