//! `POST /tokenize` and `POST /detokenize`, for people who count tokens.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dialtone_contract::{ErrorCode, Problem};
use dialtone_inference::Token;
use dialtone_serve::problem::{Json, ProblemResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Worker;

/// A text to be cut into tokens.
#[derive(Deserialize, Serialize)]
pub struct Text {
    content: String,
    /// Names of control tokens in the text become those tokens.
    #[serde(default = "yes")]
    parse_special: bool,
    /// Begins with the token that every text of this model begins with.
    #[serde(default)]
    add_special: bool,
    /// The text of each token too.
    #[serde(default)]
    with_pieces: bool,
}

fn yes() -> bool {
    true
}

/// Tokens to be put together.
#[derive(Deserialize, Serialize)]
pub struct Tokens {
    tokens: Vec<Token>,
}

/// Text to tokens.
pub async fn tokenize(
    State(worker): State<Worker>,
    Json(text): Json<Text>,
) -> Result<Response, ProblemResponse> {
    let (pieces, bytes) = (text.with_pieces, text.content.len());
    let encode = move |serving: &crate::Serving| {
        let begin = serving.tokenizer.begin().filter(|_| text.add_special);
        let tokens = serving.tokenizer.encode(&text.content, text.parse_special);
        Ok(begin.into_iter().chain(tokens).collect())
    };
    let tokens = worker.encode(bytes, encode).await.map_err(|_| not_ready())?;
    let Some(serving) = worker.model().filter(|_| pieces) else {
        return Ok(axum::Json(json!({ "tokens": tokens })).into_response());
    };
    let piece = |token: &Token| json!({ "id": token, "piece": serving.tokenizer.name(*token) });
    let pieces: Vec<_> = tokens.iter().map(piece).collect();
    Ok(axum::Json(json!({ "tokens": pieces })).into_response())
}

/// Tokens to text. Bytes that are not UTF-8 become the replacement character.
pub async fn detokenize(
    State(worker): State<Worker>,
    Json(Tokens { tokens }): Json<Tokens>,
) -> Result<Response, ProblemResponse> {
    let serving = worker.model().ok_or_else(not_ready)?;
    let bytes: Vec<u8> =
        tokens.iter().flat_map(|token| serving.tokenizer.bytes(*token)).copied().collect();
    let content = String::from_utf8_lossy(&bytes);
    Ok(axum::Json(json!({ "content": content })).into_response())
}

fn not_ready() -> ProblemResponse {
    Problem::new(ErrorCode::NotReady, "the model does not take requests now").into()
}
