//! What a client asks for: the body of every route that generates.

use axum::extract::{FromRequest, Request};
use dialtone_inference::sampling::Sampling;
use dialtone_serve::problem::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Options;
use crate::refusal::Refusal;

/// Texts at which an answer may end, as in OpenAI's API.
const STOPS: usize = 4;

/// The body of a request that generates. One type for all such routes: they differ in the
/// prompt alone. Unknown fields are ignored, as OpenAI's API does.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Ask {
    pub model: Option<String>,
    pub messages: Option<Vec<Message>>,
    pub prompt: Option<Value>,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// 0 and -1 mean all.
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub repeat_penalty: Option<f64>,
    /// The name that other servers give `repeat_penalty`.
    pub repetition_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Option<Value>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub user: Option<String>,
    pub session_id: Option<String>,
    pub prompt_cache_key: Option<String>,
    pub ignore_eos: Option<bool>,
    // What is not done here is refused by name rather than ignored, since the answer would not
    // be what was asked for.
    pub n: Option<u64>,
    pub best_of: Option<u64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub logprobs: Option<Value>,
    pub top_logprobs: Option<u64>,
    pub logit_bias: Option<Value>,
    pub response_format: Option<Value>,
    pub tools: Option<Value>,
    pub tool_choice: Option<Value>,
    pub functions: Option<Value>,
    pub function_call: Option<Value>,
    pub modalities: Option<Value>,
    pub audio: Option<Value>,
    pub echo: Option<bool>,
    pub suffix: Option<String>,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct StreamOptions {
    /// One chunk more, with the usage.
    pub include_usage: Option<bool>,
}

/// One message of a conversation, as sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Message {
    pub role: String,
    #[serde(default)]
    pub content: Option<Value>,
    #[serde(default)]
    pub tool_calls: Option<Value>,
}

/// An [`Ask`] that was read and of which nothing has to be refused unseen.
pub struct Body(pub Ask);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let Json(ask) = Json::<Ask>::from_request(request, state)
            .await
            .map_err(|problem| Refusal::from(problem.0))?;
        ask.refuse_undone()?;
        Ok(Self(ask))
    }
}

impl Ask {
    /// How tokens are chosen. What is absent is as the worker has it.
    pub fn sampling(&self, options: &Options) -> Result<Sampling, Refusal> {
        let model = &options.sampling;
        let top_k = match self.top_k {
            None => model.top_k,
            Some(-1) => 0,
            Some(asked) => usize::try_from(asked)
                .map_err(|_| Refusal::invalid("top_k", format!("{asked} is less than -1")))?,
        };
        let penalty = self.repeat_penalty.or(self.repetition_penalty);
        let sampling = Sampling {
            temperature: narrow(self.temperature, model.temperature),
            top_k,
            top_p: narrow(self.top_p, model.top_p),
            min_p: narrow(self.min_p, model.min_p),
            repeat_penalty: narrow(penalty, model.repeat_penalty),
            repeat_last: model.repeat_last,
            // Any integer of 64 bits is a seed of its own, negative ones too.
            seed: self.seed.map_or_else(crate::id::chance, i64::cast_unsigned),
        };
        sampling.validate().map_err(|(field, reason)| Refusal::invalid(field, reason))?;
        Ok(sampling)
    }

    /// Tokens to generate at most. More than the longest sequence is a mistake; more than what
    /// the prompt leaves is not.
    pub fn max_tokens(&self, options: &Options, context: usize) -> Result<usize, Refusal> {
        let (param, asked) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(asked), _) => ("max_completion_tokens", asked),
            (None, Some(asked)) => ("max_tokens", asked),
            (None, None) => return Ok(options.max_tokens.min(context)),
        };
        match usize::try_from(asked) {
            Ok(asked) if (1..=context).contains(&asked) => Ok(asked),
            _ => Err(Refusal::invalid(param, format!("{asked} is not 1 to {context}"))),
        }
    }

    /// Texts at which the answer ends.
    pub fn stop(&self) -> Result<Vec<String>, Refusal> {
        let bad = |message: &str| Err(Refusal::invalid("stop", message));
        match &self.stop {
            None => Ok(Vec::new()),
            Some(Value::String(stop)) => Ok(vec![stop.clone()]),
            Some(Value::Array(stops)) if stops.len() > STOPS => bad("at most 4 texts are taken"),
            Some(Value::Array(stops)) => {
                let texts = stops.iter().map(|stop| stop.as_str().map(str::to_owned)).collect();
                match texts {
                    Some(texts) => Ok(texts),
                    None => bad("each must be a text"),
                }
            }
            Some(_) => bad("it must be a text or a list of texts"),
        }
    }

    /// The conversation that this is a turn of, and the field that names it.
    pub fn session(&self) -> Option<(&'static str, &str)> {
        let names = [
            ("session_id", &self.session_id),
            ("prompt_cache_key", &self.prompt_cache_key),
            ("user", &self.user),
        ];
        let mut given =
            names.into_iter().filter_map(|(field, name)| Some((field, name.as_deref()?)));
        given.find(|(_, name)| !name.is_empty())
    }

    pub fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub fn include_usage(&self) -> bool {
        self.stream_options.is_some_and(|options| options.include_usage == Some(true))
    }

    fn refuse_undone(&self) -> Result<(), Refusal> {
        let given = |value: &Option<Value>, plain: &[Value]| {
            value.as_ref().is_some_and(|value| !empty(value) && !plain.contains(value))
        };
        let text = serde_json::json!({ "type": "text" });
        let (none, only_text) = (Value::from("none"), serde_json::json!(["text"]));
        let rules = [
            (self.n.is_some_and(|n| n != 1), "n", "only 1 answer per request"),
            (self.best_of.is_some_and(|n| n != 1), "best_of", "only 1 answer per request"),
            (nonzero(self.frequency_penalty), "frequency_penalty", "use `repeat_penalty`"),
            (nonzero(self.presence_penalty), "presence_penalty", "use `repeat_penalty`"),
            (given(&self.logprobs, &[false.into()]), "logprobs", "it is not served"),
            (self.top_logprobs.is_some_and(|n| n > 0), "top_logprobs", "it is not served"),
            (given(&self.logit_bias, &[]), "logit_bias", "it is not served"),
            (given(&self.response_format, &[text]), "response_format", "only text is served"),
            (given(&self.tools, &[]), "tools", "tools are not served"),
            (
                given(&self.tool_choice, &[none.clone(), "auto".into()]),
                "tool_choice",
                "tools are not served",
            ),
            (given(&self.functions, &[]), "functions", "tools are not served"),
            (given(&self.function_call, &[none]), "function_call", "tools are not served"),
            (given(&self.modalities, &[only_text]), "modalities", "only text is served"),
            (given(&self.audio, &[]), "audio", "only text is served"),
            (self.echo == Some(true), "echo", "it is not served"),
            (self.suffix.as_ref().is_some_and(|s| !s.is_empty()), "suffix", "it is not served"),
            (
                self.stream_options.is_some() && !self.streams(),
                "stream_options",
                "only with `stream: true`",
            ),
        ];
        match rules.into_iter().find(|(undone, ..)| *undone) {
            Some((_, param, why)) => {
                Err(Refusal::unsupported(param, format!("`{param}` cannot be served: {why}")))
            }
            None => Ok(()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is out of range is refused afterwards")]
fn narrow(asked: Option<f64>, default: f32) -> f32 {
    asked.map_or(default, |asked| asked as f32)
}

fn nonzero(value: Option<f64>) -> bool {
    value.is_some_and(|value| value != 0.0)
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Ask {
        serde_json::from_str(body).expect("an ask")
    }

    fn param(refusal: &Refusal) -> String {
        let document: Value = serde_json::from_slice(&refusal.document()).expect("JSON");
        document["error"]["param"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let cases = [
            (r#"{"n":2}"#, "n"),
            (r#"{"tools":[{"type":"function"}]}"#, "tools"),
            (r#"{"response_format":{"type":"json_object"}}"#, "response_format"),
            (r#"{"logprobs":true}"#, "logprobs"),
            (r#"{"logprobs":3}"#, "logprobs"),
            (r#"{"frequency_penalty":0.5}"#, "frequency_penalty"),
            (r#"{"logit_bias":{"5":1}}"#, "logit_bias"),
            (r#"{"stream_options":{"include_usage":true}}"#, "stream_options"),
        ];
        for (body, expected) in cases {
            assert_eq!(param(&ask(body).refuse_undone().expect_err(body)), expected);
        }
    }

    #[test]
    fn what_asks_for_nothing_more_passes() {
        let bodies = [
            r#"{"n":1,"tools":[],"tool_choice":"none","logprobs":false,"presence_penalty":0}"#,
            r#"{"response_format":{"type":"text"},"logit_bias":{},"modalities":["text"]}"#,
            r#"{"n":null,"tools":null,"stream_options":null,"stop":null,"anything":{"else":1}}"#,
        ];
        for body in bodies {
            assert_eq!(ask(body).refuse_undone(), Ok(()), "{body}");
        }
    }

    #[test]
    fn numbers_out_of_range_name_their_field() {
        let options = Options::default();
        for (body, field) in [
            (r#"{"temperature":-0.1}"#, "temperature"),
            (r#"{"temperature":1e300}"#, "temperature"),
            (r#"{"top_p":0}"#, "top_p"),
            (r#"{"top_k":-2}"#, "top_k"),
            (r#"{"repetition_penalty":0}"#, "repeat_penalty"),
        ] {
            assert_eq!(param(&ask(body).sampling(&options).expect_err(body)), field);
        }
        for (body, field) in [
            (r#"{"max_tokens":0}"#, "max_tokens"),
            (r#"{"max_tokens":18446744073709551615}"#, "max_tokens"),
            (r#"{"max_completion_tokens":129,"max_tokens":5}"#, "max_completion_tokens"),
        ] {
            assert_eq!(param(&ask(body).max_tokens(&options, 128).expect_err(body)), field);
        }
        assert_eq!(ask(r#"{"max_tokens":128}"#).max_tokens(&options, 128), Ok(128));
    }

    #[test]
    fn one_stop_or_four() {
        assert_eq!(ask(r#"{"stop":"a"}"#).stop(), Ok(vec!["a".to_owned()]));
        assert_eq!(ask(r#"{"stop":["a","b","c","d"]}"#).stop().map(|stops| stops.len()), Ok(4));
        for bad in [r#"{"stop":["a","b","c","d","e"]}"#, r#"{"stop":[1]}"#, r#"{"stop":{}}"#] {
            assert_eq!(param(&ask(bad).stop().expect_err(bad)), "stop");
        }
    }
}
