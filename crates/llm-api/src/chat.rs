//! `POST /v1/chat/completions`.

use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dialtone_inference::engine::{FinishReason, Output};
use dialtone_inference::template::{self, Message, encode_chat};
use serde::Serialize;
use serde_json::Value;

use crate::Worker;
use crate::answer::Took;
use crate::ask::{self, Body};
use crate::events::{self, Events, Script};
use crate::generate::{Head, Used};
use crate::metrics::word;
use crate::refusal::Refusal;

/// Bytes of text that the form of a message stands for.
const MESSAGE: usize = 64;

/// Answers a conversation.
pub async fn create(State(worker): State<Worker>, Body(ask): Body) -> Result<Response, Refusal> {
    let asked = Instant::now();
    worker.check_model(ask.model.as_deref())?;
    let messages = conversation(ask.messages.as_deref())?;
    let text: usize = messages.iter().map(|message| message.content.len()).sum();
    worker.admit(text)?;
    // To write a message costs the template something, however short it is.
    let bytes = text + messages.len() * MESSAGE;
    let prompt = worker.encode(bytes, move |serving| {
        // It may have waited for its turn.
        serving.engine.has_room()?;
        encode_chat(&*serving.tokenizer, &serving.template, &messages, true)
            .map_err(|error| refusal(&error))
    });
    let prompt = prompt.await?;
    let taken = worker.submit(&ask, prompt, "chatcmpl", asked)?;
    if ask.streams() {
        return Ok(events::respond(taken.answer, Chunks(taken.head)));
    }
    let (head, whole) = taken.whole().await?;
    let message = Reply { role: "assistant", content: &whole.text, refusal: None };
    let completion = Completion {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        system_fingerprint: &head.fingerprint,
        choices: [Choice {
            index: 0,
            message,
            logprobs: None,
            finish_reason: word(&whole.finish.reason),
        }],
        usage: whole.finish.usage.into(),
        timings: (&whole.finish).into(),
    };
    Ok(axum::Json(completion).into_response())
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: [Choice<'a>; 1],
    usage: Used,
    timings: Took,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Reply<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Reply<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct Chunk<'a, C> {
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
struct Change<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// The answer in chunks.
struct Chunks(Head);

impl Chunks {
    fn chunk<C>(&self, choices: C) -> Chunk<'_, C> {
        let usage = self.0.include_usage.then_some(None);
        Chunk {
            id: &self.0.id,
            object: "chat.completion.chunk",
            created: self.0.created,
            model: &self.0.model,
            system_fingerprint: &self.0.fingerprint,
            choices,
            usage,
            timings: None,
        }
    }
}

fn change<'a>(delta: Delta<'a>, finish_reason: Option<&'static str>) -> [Change<'a>; 1] {
    [Change { index: 0, delta, logprobs: None, finish_reason }]
}

impl Script for Chunks {
    fn begin(&mut self, to: &mut Events) {
        let delta = Delta { role: Some("assistant"), content: Some("") };
        to.data(&self.chunk(change(delta, None)));
    }

    fn output(&mut self, output: Output, to: &mut Events) {
        match output {
            Output::Piece(piece) => {
                let delta = Delta { role: None, content: Some(&piece.text) };
                to.data(&self.chunk(change(delta, None)));
            }
            Output::Finish(finish) => {
                if let FinishReason::Error(reason) = &finish.reason {
                    let refusal = Refusal::failed(format!("the model failed: {reason}"));
                    to.raw(&refusal.document());
                    return;
                }
                let choices = change(Delta::default(), Some(word(&finish.reason)));
                let timings = Some(Took::from(&finish));
                to.data(&Chunk { timings, ..self.chunk(choices) });
                if self.0.include_usage {
                    let usage = Some(Some(finish.usage.into()));
                    let none: [Change<'_>; 0] = [];
                    to.data(&Chunk { usage, ..self.chunk(none) });
                }
            }
        }
    }
}

fn refusal(error: &template::Error) -> Refusal {
    let said = error.to_string();
    match error {
        template::Error::Broken(_) => Refusal::failed(said),
        _ => Refusal::invalid("messages", said),
    }
}

/// The messages as the template takes them.
fn conversation(messages: Option<&[ask::Message]>) -> Result<Vec<Message>, Refusal> {
    let messages = messages.ok_or_else(|| Refusal::missing("messages"))?;
    if messages.is_empty() {
        return Err(Refusal::invalid("messages", "there must be at least one message"));
    }
    let read = |(index, message): (usize, &ask::Message)| {
        let at = |field: &str| format!("messages[{index}].{field}");
        let role = match message.role.as_str() {
            // What newer clients call the system.
            "developer" => "system",
            known @ ("system" | "user" | "assistant") => known,
            other => {
                let said = format!("`{other}` is not one of system, developer, user, assistant");
                return Err(Refusal::invalid(at("role"), said));
            }
        };
        if message.tool_calls.as_ref().is_some_and(|calls| calls != &serde_json::json!([])) {
            return Err(Refusal::unsupported(at("tool_calls"), "tools are not served"));
        }
        let content =
            text(message.content.as_ref()).map_err(|why| Refusal::invalid(at("content"), why))?;
        Ok(Message { role: role.to_owned(), content })
    };
    messages.iter().enumerate().map(read).collect()
}

/// A text, or a list of parts that are texts.
fn text(content: Option<&Value>) -> Result<String, &'static str> {
    let part = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text") | None, Some(text)) => Ok(text.to_owned()),
        (Some("text"), None) => Err("a part of the type `text` needs a `text`"),
        _ => Err("only parts of the type `text` are served"),
    };
    match content {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => parts.iter().map(part).collect(),
        _ => Err("it must be a text or a list of text parts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &str) -> Result<Vec<Message>, Refusal> {
        let messages: Vec<ask::Message> = serde_json::from_str(messages).expect("messages");
        conversation(Some(&messages))
    }

    #[test]
    fn parts_are_joined() {
        let messages = r#"[{"role":"developer","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]}]"#;
        let read = read(messages).expect("a conversation");
        let flat: Vec<_> = read.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(flat, [("system", "a"), ("user", "bc")]);
    }

    #[test]
    fn what_is_no_text_is_refused_at_its_place() {
        for (messages, place) in [
            (r#"[{"role":"user","content":"a"},{"role":"user"}]"#, "messages[1].content"),
            (r#"[{"role":"user","content":[{"type":"image_url"}]}]"#, "messages[0].content"),
            (r#"[{"role":"tool","content":"a"}]"#, "messages[0].role"),
            (r#"[{"role":"assistant","content":"a","tool_calls":[{}]}]"#, "messages[0].tool_calls"),
            ("[]", "messages"),
        ] {
            let document = read(messages).expect_err(messages).document();
            let document: Value = serde_json::from_slice(&document).expect("JSON");
            assert_eq!(document["error"]["param"], place);
        }
    }
}
