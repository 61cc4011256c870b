//! `POST /v1/completions`.

use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dialtone_inference::Token;
use dialtone_inference::engine::{FinishReason, Output};
use serde::Serialize;
use serde_json::Value;

use crate::Worker;
use crate::answer::Took;
use crate::ask::Body;
use crate::events::{self, Events, Script};
use crate::generate::{Head, Used};
use crate::metrics::word;
use crate::refusal::Refusal;

/// Continues a text.
pub async fn create(State(worker): State<Worker>, Body(ask): Body) -> Result<Response, Refusal> {
    let asked = Instant::now();
    worker.check_model(ask.model.as_deref())?;
    let prompt = worker.prompt(ask.prompt.as_ref()).await?;
    let taken = worker.submit(&ask, prompt, "cmpl", asked)?;
    if ask.streams() {
        return Ok(events::respond(taken.answer, Chunks(taken.head)));
    }
    let (head, whole) = taken.whole().await?;
    let choices = [choice(&whole.text, Some(word(&whole.finish.reason)))];
    let usage = Some(Some(whole.finish.usage.into()));
    let timings = Some((&whole.finish).into());
    Ok(axum::Json(Completion { usage, timings, ..Completion::of(&head, choices) }).into_response())
}

/// A prompt, as it was sent.
enum Prompt {
    Text(String),
    Tokens(Vec<Token>),
}

impl Worker {
    /// The tokens of a raw prompt. Names of control tokens in its text become those tokens: who
    /// sends a raw prompt has applied the model's template already.
    pub(crate) async fn prompt(&self, prompt: Option<&Value>) -> Result<Vec<Token>, Refusal> {
        match read(prompt)? {
            Prompt::Tokens(tokens) => Ok(tokens),
            Prompt::Text(text) => {
                let bytes = text.len();
                self.admit(bytes)?;
                let encode = move |serving: &crate::Serving| {
                    // It may have waited for its turn.
                    serving.engine.has_room()?;
                    let begin = serving.tokenizer.begin();
                    let text = serving.tokenizer.encode(&text, true);
                    // A template may have written the beginning itself.
                    let begin = begin.filter(|begin| text.first() != Some(begin));
                    Ok(begin.into_iter().chain(text).collect())
                };
                self.encode(bytes, encode).await
            }
        }
    }
}

fn read(prompt: Option<&Value>) -> Result<Prompt, Refusal> {
    let bad = |message: &str| Err(Refusal::invalid("prompt", message));
    match prompt {
        None | Some(Value::Null) => Err(Refusal::missing("prompt")),
        Some(Value::String(text)) => Ok(Prompt::Text(text.clone())),
        Some(Value::Array(items)) => match items.as_slice() {
            [] => bad("it must not be empty"),
            [one @ (Value::String(_) | Value::Array(_))] => read(Some(one)),
            [Value::String(_) | Value::Array(_), ..] => bad("only 1 prompt per request"),
            numbers => {
                let token = |number: &Value| Token::try_from(number.as_u64()?).ok();
                match numbers.iter().map(token).collect() {
                    Some(tokens) => Ok(Prompt::Tokens(tokens)),
                    None => bad("each token must be a whole number from 0 to 4294967295"),
                }
            }
        },
        Some(_) => bad("it must be a text or a list of tokens"),
    }
}

#[derive(Serialize)]
struct Completion<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: C,
    /// Written as null in every chunk but the last where the client asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Used>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Took>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    text: &'a str,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

fn choice<'a>(text: &'a str, finish_reason: Option<&'static str>) -> Choice<'a> {
    Choice { index: 0, text, logprobs: None, finish_reason }
}

impl<'a, C> Completion<'a, C> {
    fn of(head: &'a Head, choices: C) -> Self {
        Self {
            id: &head.id,
            object: "text_completion",
            created: head.created,
            model: &head.model,
            system_fingerprint: &head.fingerprint,
            choices,
            usage: head.include_usage.then_some(None),
            timings: None,
        }
    }
}

/// The answer in chunks.
struct Chunks(Head);

impl Script for Chunks {
    fn begin(&mut self, _: &mut Events) {}

    fn output(&mut self, output: Output, to: &mut Events) {
        match output {
            Output::Piece(piece) => {
                to.data(&Completion::of(&self.0, [choice(&piece.text, None)]));
            }
            Output::Finish(finish) => {
                if let FinishReason::Error(reason) = &finish.reason {
                    let refusal = Refusal::failed(format!("the model failed: {reason}"));
                    to.raw(&refusal.document());
                    return;
                }
                let choices = [choice("", Some(word(&finish.reason)))];
                let timings = Some(Took::from(&finish));
                to.data(&Completion { timings, ..Completion::of(&self.0, choices) });
                if self.0.include_usage {
                    let usage = Some(Some(finish.usage.into()));
                    let none: [Choice<'_>; 0] = [];
                    to.data(&Completion { usage, ..Completion::of(&self.0, none) });
                }
            }
        }
    }
}
