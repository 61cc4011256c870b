//! A streamed answer, held to what OpenAI's API promises: chunk by chunk, and as a whole.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Answer, Usage, check_reason};

/// The message that ends a stream.
const DONE: &str = "[DONE]";

/// What came of a stream so far.
#[derive(Clone, Debug)]
pub struct Transcript {
    asked: Instant,
    max_tokens: u64,
    id: Option<String>,
    chunks: usize,
    text: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    done: bool,
    /// When text came.
    times: Vec<Instant>,
}

#[derive(Deserialize)]
struct Chunk {
    id: String,
    object: String,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    index: u32,
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
}

/// What comes instead of a chunk when the server fails in the middle.
#[derive(Deserialize)]
struct Trouble {
    error: TroubleWords,
}

#[derive(Deserialize)]
struct TroubleWords {
    message: String,
}

impl Transcript {
    /// Of a request that was sent at `asked` for at most so many tokens.
    pub fn new(asked: Instant, max_tokens: u64) -> Self {
        Self {
            asked,
            max_tokens,
            id: None,
            chunks: 0,
            text: String::new(),
            finish_reason: None,
            usage: None,
            done: false,
            times: Vec::new(),
        }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// In words, if it must not come here.
    pub fn take(&mut self, data: &str, at: Instant) -> Result<(), String> {
        if self.done {
            return Err(format!("something follows {DONE}"));
        }
        if data == DONE {
            self.done = true;
            return Ok(());
        }
        if let Ok(trouble) = serde_json::from_str::<Trouble>(data) {
            return Err(format!("the worker gave up: {}", trouble.error.message));
        }
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|error| format!("a chunk cannot be read: {error}"))?;
        if chunk.object != "chat.completion.chunk" {
            return Err(format!("a chunk is a `{}`, not a `chat.completion.chunk`", chunk.object));
        }
        let first = self.id.get_or_insert_with(|| chunk.id.clone());
        if *first != chunk.id {
            return Err(format!("the chunks have different ids: {first} and {}", chunk.id));
        }
        self.chunks += 1;
        match (chunk.choices.as_slice(), chunk.usage) {
            ([], Some(usage)) => self.take_usage(usage),
            ([choice], _) => self.take_choice(choice, at),
            (choices, _) => Err(format!("a chunk has {} choices", choices.len())),
        }
    }

    fn take_usage(&mut self, usage: Usage) -> Result<(), String> {
        if self.finish_reason.is_none() {
            return Err("usage came before finish_reason".to_owned());
        }
        if self.usage.replace(usage).is_some() {
            return Err("usage came twice".to_owned());
        }
        // One that was cut while it waited has made nothing.
        let cut = self.finish_reason.as_deref().is_some_and(|why| check_reason(why).is_err());
        if cut && usage.completion_tokens == 0 {
            return Ok(());
        }
        usage.check(self.max_tokens)
    }

    fn take_choice(&mut self, choice: &Choice, at: Instant) -> Result<(), String> {
        if choice.index != 0 {
            return Err(format!("a choice has index {}", choice.index));
        }
        if self.finish_reason.is_some() {
            return Err("a choice came after finish_reason".to_owned());
        }
        let role = choice.delta.role.as_deref();
        match (self.chunks, role) {
            (1, Some("assistant")) | (2.., None | Some("assistant")) => {}
            (1, None) => return Err("the first chunk has no role".to_owned()),
            (_, other) => return Err(format!("a chunk has the role {other:?}")),
        }
        if let Some(text) = choice.delta.content.as_deref().filter(|text| !text.is_empty()) {
            self.text.push_str(text);
            self.times.push(at);
        }
        self.finish_reason.clone_from(&choice.finish_reason);
        Ok(())
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// In words, if something has still to come.
    pub fn check_end(&self) -> Result<(), String> {
        match self {
            Self { finish_reason: None, .. } => {
                Err("the stream ended without finish_reason".to_owned())
            }
            Self { usage: None, .. } => {
                Err("the stream ended without the usage that was asked for".to_owned())
            }
            Self { done: false, .. } => Err(format!("the stream ended without {DONE}")),
            _ => Ok(()),
        }
    }

    /// The answer, as that of a whole request.
    ///
    /// # Errors
    /// In words, if it ended for a reason that no undisturbed answer has.
    pub fn answer(&self) -> Result<Answer, String> {
        self.check_end()?;
        let finish_reason = self.finish_reason.clone().unwrap_or_default();
        check_reason(&finish_reason)?;
        let usage = self.usage.ok_or("it has no usage")?;
        Ok(Answer { text: self.text.clone(), finish_reason, usage })
    }

    /// Why it ended, once it has.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_deref()
    }

    /// Whether text has come.
    pub fn has_text(&self) -> bool {
        !self.times.is_empty()
    }

    /// Chunks so far, `[DONE]` not counted.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// What came so far, in words.
    pub fn heard(&self) -> String {
        match self.chunks {
            0 => "nothing came before".to_owned(),
            1 => "after 1 chunk".to_owned(),
            n => format!("after {n} chunks"),
        }
    }

    /// From the request to the first text.
    pub fn first_after(&self) -> Option<Duration> {
        Some(self.times.first()?.duration_since(self.asked))
    }

    /// When its first and its last text came.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        Some((*self.times.first()?, *self.times.last()?))
    }

    /// The `q` quantile (0 to 1) of the time between two texts.
    pub fn gap(&self, q: f64) -> Option<Duration> {
        let mut gaps: Vec<Duration> =
            self.times.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
        gaps.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a short list"
        )]
        let at = (q * gaps.len() as f64) as usize;
        gaps.get(at.min(gaps.len().checked_sub(1)?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: &str, reason: &str) -> String {
        format!(
            r#"{{"id":"c1","object":"chat.completion.chunk","usage":null,
                "choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#
        )
    }

    fn good() -> Vec<String> {
        let usage = r#"{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}"#;
        vec![
            chunk(r#"{"role":"assistant","content":""}"#, "null"),
            chunk(r#"{"content":"Hi"}"#, "null"),
            chunk(r#"{"content":"."}"#, "null"),
            chunk("{}", "\"stop\""),
            format!(
                r#"{{"id":"c1","object":"chat.completion.chunk","choices":[],"usage":{usage}}}"#
            ),
            DONE.to_owned(),
        ]
    }

    fn read(messages: &[String]) -> Result<Transcript, String> {
        let asked = Instant::now();
        let mut transcript = Transcript::new(asked, 8);
        for (n, message) in (1..).zip(messages) {
            transcript.take(message, asked + Duration::from_millis(10) * n)?;
        }
        transcript.check_end()?;
        Ok(transcript)
    }

    #[test]
    fn a_good_stream_is_an_answer_with_times() {
        let transcript = read(&good()).expect("good");
        let answer = transcript.answer().expect("an answer");
        assert_eq!((answer.text.as_str(), answer.usage.completion_tokens), ("Hi.", 2));
        assert_eq!(transcript.first_after(), Some(Duration::from_millis(20)));
        assert_eq!(transcript.gap(0.95), Some(Duration::from_millis(10)));
        assert_eq!(transcript.chunks(), 5);
    }

    #[test]
    fn whatever_is_not_as_promised_is_named() {
        type Spoil = fn(&mut Vec<String>);
        let cases: [(Spoil, &str); 12] = [
            (|m| m[2] = m[2].replace("c1", "c2"), "different ids: c1 and c2"),
            (|m| m[0] = chunk(r#"{"content":"Hi"}"#, "null"), "first chunk has no role"),
            (|m| m[1] = chunk(r#"{"role":"user"}"#, "null"), "role Some(\"user\")"),
            (|m| m[1] = m[1].replace(".chunk", ""), "a `chat.completion`"),
            (|m| m[1] = "{".into(), "cannot be read"),
            (|m| m[1] = r#"{"error":{"message":"no room"}}"#.into(), "gave up: no room"),
            (|m| drop(m.remove(3)), "usage came before finish_reason"),
            (|m| drop(m.remove(4)), "without the usage"),
            (|m| drop(m.pop()), "without [DONE]"),
            (|m| m.push("{}".into()), "follows [DONE]"),
            (|m| m.swap(2, 3), "after finish_reason"),
            (|m| m[4] = m[4].replace(":5", ":6"), "usage is 3 + 2 = 6"),
        ];
        for (spoil, said) in cases {
            let mut messages = good();
            spoil(&mut messages);
            let why = read(&messages).expect_err(said);
            assert!(why.contains(said), "{why}, not {said}");
        }
        assert!(read(&good()[..2]).expect_err("half").contains("without finish_reason"));
    }
}
