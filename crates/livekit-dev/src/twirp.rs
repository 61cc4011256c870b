use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use crate::auth::Denied;
use crate::emit::{Answer, json};

/// A Twirp error: a code with its HTTP status (Twirp wire protocol v7, "Error Codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TwirpError {
    status: StatusCode,
    code: &'static str,
    text: String,
}

macro_rules! codes {
    ($($name:ident $code:literal $status:ident;)*) => {
        impl TwirpError {
            $(pub(crate) fn $name(text: impl Into<String>) -> Self {
                Self { status: StatusCode::$status, code: $code, text: text.into() }
            })*
        }
    };
}

codes! {
    bad_route "bad_route" NOT_FOUND;
    internal "internal" INTERNAL_SERVER_ERROR;
    invalid "invalid_argument" BAD_REQUEST;
    malformed "malformed" BAD_REQUEST;
    not_found "not_found" NOT_FOUND;
    unauthenticated "unauthenticated" UNAUTHORIZED;
    unimplemented "unimplemented" NOT_IMPLEMENTED;
}

impl From<Denied> for TwirpError {
    /// LiveKit answers a lacking grant with `unauthenticated`, not with
    /// `permission_denied`.
    fn from(denied: Denied) -> Self {
        Self::unauthenticated(denied.text())
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "code": self.code, "msg": self.text, "meta": {} });
        (self.status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}

/// The two encodings of a Twirp call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// Reads the content type up to its parameters.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, TwirpError> {
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mime = text.unwrap_or_default().split(';').next().unwrap_or_default();
        match mime.trim().to_ascii_lowercase().as_str() {
            "application/protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            other => Err(TwirpError::bad_route(format!("unexpected Content-Type: \"{other}\""))),
        }
    }

    /// Reads a request. An empty JSON body is an empty message, as an empty protobuf
    /// body is.
    pub(crate) fn decode<M>(self, body: &Bytes) -> Result<M, TwirpError>
    where
        M: prost::Message + Default + DeserializeOwned,
    {
        match self {
            Self::Protobuf => M::decode(body.clone())
                .map_err(|_| TwirpError::malformed("the protobuf request could not be decoded")),
            Self::Json if body.is_empty() => Ok(M::default()),
            // The error's text may quote the body: keep it to the position.
            Self::Json => serde_json::from_slice(body).map_err(|error| {
                TwirpError::malformed(format!(
                    "the json request could not be decoded (column {})",
                    error.column()
                ))
            }),
        }
    }

    /// Writes an answer.
    pub(crate) fn encode<A: Answer>(self, answer: &A) -> Response {
        match self {
            Self::Protobuf => {
                ([(CONTENT_TYPE, "application/protobuf")], answer.encode_to_vec()).into_response()
            }
            Self::Json => match json(answer) {
                Ok(value) => {
                    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
                }
                Err(error) => TwirpError::internal(error.to_string()).into_response(),
            },
        }
    }
}
