//! Talking to a worker as its clients do.

use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use dialtone_serve::ClientError;
use dialtone_serve::client::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::transcript::Transcript;
use crate::failure::Failure;
use crate::http::{Http, chain};
use crate::span;
use crate::sse::{Sse, SseError};

/// Where conversations are answered.
const CHAT: &str = "/v1/chat/completions";

/// Where figures are told, in the text format of Prometheus.
const METRICS: &str = "/metrics";
/// The figure of all tokens that were ever generated.
const GENERATED: &str = "worker_generation_tokens_total";

/// Characters of an answer that is shown.
const SHOWN: usize = 60;

/// What to do about an answer that does not come.
const PATIENCE: &str = "read its log in the run folder, or raise --timeout";

/// One question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What the user says.
    pub text: String,
    /// Tokens of the answer at most.
    pub max_tokens: u64,
    /// Goes on after the model's end, up to `max_tokens`.
    pub endless: bool,
}

impl Ask {
    /// A question that may be answered in so many tokens.
    pub fn new(text: &str, max_tokens: u64) -> Self {
        Self { text: text.to_owned(), max_tokens, endless: false }
    }

    /// An answer of exactly so many tokens.
    pub fn endless(text: &str, max_tokens: u64) -> Self {
        Self { endless: true, ..Self::new(text, max_tokens) }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was said.
    pub text: String,
    /// Why it ended: `stop` or `length`.
    pub finish_reason: String,
    /// Tokens.
    pub usage: Usage,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Read.
    pub prompt_tokens: u64,
    /// Generated.
    pub completion_tokens: u64,
    /// Together.
    pub total_tokens: u64,
}

impl Usage {
    /// Whether the figures can be true; else why not.
    pub fn check(self, max_tokens: u64) -> Result<(), String> {
        let Self { prompt_tokens: read, completion_tokens: made, total_tokens: all } = self;
        if read == 0 || made == 0 || Some(all) != read.checked_add(made) || made > max_tokens {
            return Err(format!(
                "usage is {read} + {made} = {all} tokens where at most {max_tokens} were asked for"
            ));
        }
        Ok(())
    }
}

/// One line of `/slots`; only what is read here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Slot {
    /// What it does.
    pub state: String,
    /// Who is in it.
    #[serde(default)]
    pub request: Option<String>,
}

impl Slot {
    /// Whether somebody is in it.
    pub fn is_busy(&self) -> bool {
        self.request.is_some()
    }
}

#[derive(Deserialize)]
struct Completion {
    object: String,
    choices: Vec<Choice>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

/// A client of one worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    /// Sends.
    pub http: Http,
    /// The worker's port.
    pub port: u16,
    /// How long an answer, or the next part of one, may take.
    pub within: Duration,
    /// The model, as the worker calls it.
    pub model: String,
    /// Seed of every request.
    pub seed: u64,
}

impl Client {
    /// A URL of the worker.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Gets a document, with the status that it came with.
    ///
    /// # Errors
    /// If none comes, or it is none of these.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(u16, T), Failure> {
        let answer = self.http.get(&self.url(path), &[], self.within).await;
        let answer = answer.map_err(|error| self.silence(path, &error))?;
        let document = read(path, &answer)?;
        Ok((answer.status.as_u16(), document))
    }

    /// The slots.
    ///
    /// # Errors
    /// If they are not told.
    pub async fn slots(&self) -> Result<Vec<Slot>, Failure> {
        Ok(self.get("/slots").await?.1)
    }

    /// Tokens generated since the worker's start, as `/metrics` counts them.
    ///
    /// # Errors
    /// If it does not say.
    pub async fn generated(&self) -> Result<u64, Failure> {
        let answer = self.http.get(&self.url(METRICS), &[], self.within).await;
        let answer = answer.map_err(|error| self.silence(METRICS, &error))?;
        let text = String::from_utf8_lossy(&answer.body);
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let value = lines.find(|(name, _)| *name == GENERATED).map(|(_, value)| value.trim());
        value.and_then(|value| value.parse().ok()).ok_or_else(|| {
            let message = format!("{METRICS} does not count {GENERATED}");
            Failure::new(ErrorCode::WrongAnswer, message).evidence([excerpt(&answer)])
        })
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// If it does not come, or is not what OpenAI's API promises.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        let sent = self.http.post(&self.url(CHAT), &[], &self.body(ask, false), self.within).await;
        let answer = sent.map_err(|error| self.silence(CHAT, &error))?;
        if !answer.status.is_success() {
            return Err(wrong(&answer, &format!("answered {}", answer.status.as_u16())));
        }
        let completion: Completion = read(CHAT, &answer)?;
        check(completion, ask).map_err(|why| wrong(&answer, &why))
    }

    /// Asks for a stream.
    ///
    /// # Errors
    /// If none begins.
    pub async fn open(&self, ask: &Ask) -> Result<Listener, Failure> {
        let began = Instant::now();
        let body = self.body(ask, true).to_string().into_bytes();
        let opened = tokio::time::timeout(self.within, Sse::open(self.port, CHAT, body)).await;
        let sse = match opened {
            Ok(Ok(sse)) => sse,
            Ok(Err(error)) => return Err(of_stream(&error)),
            Err(_) => return Err(self.late(&format!("no stream began at {CHAT}"))),
        };
        let transcript = Transcript::new(began, ask.max_tokens);
        Ok(Listener { sse, transcript, within: self.within })
    }

    /// Asks for a stream and listens to its end.
    ///
    /// # Errors
    /// If it is not whole, or not what OpenAI's API promises.
    pub async fn stream(&self, ask: &Ask) -> Result<Transcript, Failure> {
        let mut listener = self.open(ask).await?;
        while listener.hear().await? {}
        Ok(listener.transcript)
    }

    fn body(&self, ask: &Ask, stream: bool) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": ask.text }],
            "max_tokens": ask.max_tokens,
            "temperature": 0,
            // Small enough for clients whose integers are signed.
            "seed": self.seed >> 1,
        });
        if stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({ "include_usage": true });
        }
        if ask.endless {
            body["ignore_eos"] = true.into();
        }
        body
    }

    fn silence(&self, path: &str, error: &ClientError) -> Failure {
        match error {
            ClientError::Timeout { .. } => self.late(&format!("no answer of {path} came")),
            other => {
                let message = format!("no whole answer of {path} came: {}", chain(other));
                Failure::new(ErrorCode::WrongAnswer, message)
            }
        }
    }

    fn late(&self, what: &str) -> Failure {
        let message = format!("{what} within {}", span::human(self.within));
        Failure::new(ErrorCode::TargetLost, message).hint(PATIENCE)
    }
}

/// A stream that is being listened to. Dropping it is the client going away.
pub struct Listener {
    sse: Sse,
    /// What came so far.
    pub transcript: Transcript,
    within: Duration,
}

impl Listener {
    /// Takes the next message; whether there was one.
    ///
    /// # Errors
    /// If it does not come, or is not what must come here.
    pub async fn hear(&mut self) -> Result<bool, Failure> {
        let next = match tokio::time::timeout(self.within, self.sse.next()).await {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => return Err(self.broken(&error.to_string())),
            Err(_) => {
                let heard = self.transcript.heard();
                let message = format!("nothing came for {} ({heard})", span::human(self.within));
                return Err(Failure::new(ErrorCode::TargetLost, message).hint(PATIENCE));
            }
        };
        match next {
            Some(data) => {
                let took = self.transcript.take(&data, Instant::now());
                took.map_err(|why| self.broken(&why).evidence([shorten(&data, 300)]))?;
                Ok(true)
            }
            None => {
                self.transcript.check_end().map_err(|why| self.broken(&why))?;
                Ok(false)
            }
        }
    }

    fn broken(&self, why: &str) -> Failure {
        let heard = self.transcript.heard();
        Failure::new(ErrorCode::StreamBroken, format!("{why} ({heard})"))
    }
}

fn of_stream(error: &SseError) -> Failure {
    let code = match error {
        SseError::NoStream { .. } => ErrorCode::WrongAnswer,
        SseError::Silent(_) | SseError::Broken(_) => ErrorCode::StreamBroken,
    };
    Failure::new(code, error.to_string())
}

fn check(completion: Completion, ask: &Ask) -> Result<Answer, String> {
    let Completion { object, mut choices, usage } = completion;
    if object != "chat.completion" {
        return Err(format!("its object is `{object}`, not `chat.completion`"));
    }
    let (Some(choice), true) = (choices.pop(), choices.is_empty()) else {
        return Err("it has not exactly one choice".to_owned());
    };
    if choice.message.role != "assistant" {
        return Err(format!("its role is `{}`, not `assistant`", choice.message.role));
    }
    if choice.message.content.trim().is_empty() {
        return Err("it has no text".to_owned());
    }
    usage.check(ask.max_tokens)?;
    check_reason(&choice.finish_reason)?;
    Ok(Answer { text: choice.message.content, finish_reason: choice.finish_reason, usage })
}

/// The two reasons for which an answer ends that nobody disturbs.
pub fn check_reason(reason: &str) -> Result<(), String> {
    match reason {
        "stop" | "length" => Ok(()),
        _ => Err(format!("finish_reason is `{reason}`, not `stop` or `length`")),
    }
}

fn read<T: DeserializeOwned>(path: &str, answer: &Response) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let why = format!("the answer of {path} cannot be read: {error}");
        Failure::new(ErrorCode::WrongAnswer, why).evidence([excerpt(answer)])
    })
}

fn wrong(answer: &Response, why: &str) -> Failure {
    Failure::new(ErrorCode::WrongAnswer, format!("the answer of {CHAT} is wrong: {why}"))
        .evidence([excerpt(answer)])
}

fn excerpt(answer: &Response) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    format!("{}: {}", answer.status.as_u16(), shorten(&body, 300))
}

/// An answer as it is shown: quoted, on one line, not too long.
pub fn quoted(text: &str) -> String {
    format!("{:?}", shorten(text, SHOWN))
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<Answer, String> {
        let completion = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check(completion, &Ask::new("?", 8))
    }

    const GOOD: &str = r#"{"id":"a","object":"chat.completion","choices":[{"index":0,
        "message":{"role":"assistant","content":"Hi."},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

    #[test]
    fn an_answer_is_what_the_api_promises() {
        assert_eq!(answer(GOOD).expect("good").text, "Hi.");
        for (right, wrong) in [
            ("chat.completion", "text_completion"),
            ("assistant", "user"),
            ("Hi.", ""),
            ("Hi.", " \\n"),
            ("\"stop\"", "\"tired\""),
            ("\"stop\"", "null"),
            ("\"completion_tokens\":2", "\"completion_tokens\":0"),
            (
                "\"completion_tokens\":2,\"total_tokens\":5",
                "\"completion_tokens\":9,\"total_tokens\":12",
            ),
            ("\"total_tokens\":5", "\"total_tokens\":6"),
            ("\"choices\":[", "\"choices\":[],\"x\":["),
        ] {
            let text = GOOD.replace(right, wrong);
            assert!(text != GOOD && answer(&text).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn answers_are_shown_on_one_short_line() {
        assert_eq!(quoted("a\nb\"\u{1b}"), r#""a\nb\"\u{1b}""#);
        assert_eq!(quoted(&"\u{e4}".repeat(61)), format!("\"{}..\"", "\u{e4}".repeat(60)));
    }
}
