//! What a worker answers: the right thing, the same thing, and the same in every form.

use std::future::Future;
use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use tokio::task::JoinSet;

use super::backend::Backend;
use super::client::{Answer, Ask, Client, quoted};
use super::setup::{Bench, Scene};
use super::transcript::Transcript;
use super::{BUILT_IN, Model, ms};
use crate::failure::Failure;
use crate::run::Run;

/// Tokens of an answer of the built-in model at most: it ends by itself.
const BUILT_IN_TOKENS: u64 = 128;
/// Tokens of an answer of any other model at most.
const TOKENS: u64 = 32;
/// Tokens of each of several answers at most.
const PARALLEL_TOKENS: u64 = 24;
/// Tokens of each of several streams, at least and at most, and for how long a worker that runs
/// one after the other would be busy with one of them.
const STREAM_TOKENS: (u64, u64) = (16, 256);
const STREAM_SPAN: Duration = Duration::from_millis(100);
/// How often streams may miss each other that a busy machine began one by one.
const TRIES: usize = 4;
/// Answers at once, whatever the number of slots.
const PARALLEL: (usize, usize) = (2, 8);

/// Different questions, so that answers that were mixed up show.
const QUESTIONS: [&str; PARALLEL.1] = [
    "What are your opening hours?",
    "Where are you?",
    "I need an appointment.",
    "How much is a cleaning?",
    "Can I bring my child?",
    "My tooth hurts.",
    "Do you speak German?",
    "Thank you, goodbye.",
];

/// What is known of the worker's answers.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The first question and its answer.
    pub first: Option<(Ask, Answer)>,
}

/// Who asks.
pub struct Asking<'a> {
    run: &'a Run,
    client: Client,
    built_in: bool,
    exact: bool,
    at_once: usize,
    slots: usize,
    context: u64,
}

/// Asks the worker of this scene.
pub fn answers_of<'a>(bench: &Bench<'a>, scene: &Scene, slots: usize) -> Asking<'a> {
    Asking {
        run: bench.run,
        client: scene.client.clone(),
        built_in: bench.options.model == Model::BuiltIn,
        // Only the processor promises the same numbers for every batch.
        exact: scene.chosen.backend == Backend::Cpu,
        at_once: slots.clamp(PARALLEL.0, PARALLEL.1),
        slots,
        context: scene.info.context,
    }
}

/// A stream that has been listened to, or why it broke; judged when its turn comes.
pub type Heard = Result<Transcript, Failure>;

impl Asking<'_> {
    /// The first answer, three times: as a stream, which tells when its text came, and twice as a
    /// whole.
    pub async fn inference(&self) -> Result<((Known, Option<Heard>), String), Failure> {
        let most = if self.built_in { BUILT_IN_TOKENS } else { TOKENS };
        let ask = Ask::new(BUILT_IN.0, most);
        let heard = match self.client.stream(&ask).await {
            Err(silent) if silent.code == ErrorCode::TargetLost => return Err(silent),
            heard => heard,
        };
        let began = Instant::now();
        let first = self.client.ask(&ask).await?;
        let whole = began.elapsed();
        let second = self.client.ask(&ask).await?;
        if first != second {
            let message = "the same request was answered in two ways at temperature 0";
            return Err(Failure::new(ErrorCode::WrongAnswer, message)
                .evidence([quoted(&first.text), quoted(&second.text)]));
        }
        if self.built_in && first.text != BUILT_IN.1 {
            let message = format!(
                "the built-in model answered {} to {}",
                quoted(&first.text),
                quoted(BUILT_IN.0)
            );
            return Err(Failure::new(ErrorCode::WrongAnswer, message)
                .evidence([format!("expected {}", quoted(BUILT_IN.1))]));
        }
        let (ttft, speed) = self.figures(heard.as_ref().ok(), &first, whole);
        let said = format!(
            "{} {} tokens, first after {:.1} ms, {speed:.0} tokens/s, same twice",
            quoted(&first.text),
            first.usage.completion_tokens,
            ms(ttft)
        );
        Ok(((Known { first: Some((ask, first)) }, Some(heard)), said))
    }

    /// Time to the first token and tokens per second, as the client saw them.
    fn figures(
        &self,
        heard: Option<&Transcript>,
        answer: &Answer,
        whole: Duration,
    ) -> (Duration, f64) {
        let ttft = heard.and_then(Transcript::first_after).unwrap_or(whole);
        // Not between two texts of the stream: a fast model sends many of them together.
        let tokens = super::count(answer.usage.completion_tokens);
        let speed = tokens / whole.as_secs_f64().max(1e-6);
        self.run.metric("ttft_ms", ms(ttft));
        self.run.metric("tokens_per_s", speed);
        if let Some(gap) = heard.and_then(|heard| heard.gap(0.95)) {
            self.run.metric("inter_token_p95_ms", ms(gap));
        }
        (ttft, speed)
    }

    /// The stream was whole, and said what the whole answers say.
    pub async fn stream(
        &self,
        heard: Heard,
        (ask, whole): &(Ask, Answer),
    ) -> Result<((), String), Failure> {
        let transcript = match heard {
            Ok(transcript) => transcript,
            Err(failure) => {
                // Told with what a second try says, which a passing fault would not repeat.
                let again = self.client.stream(ask).await.err().map(|again| again.to_string());
                let again = again.unwrap_or_else(|| "a second one was whole".to_owned());
                return Err(failure.evidence([format!("asked again: {again}")]));
            }
        };
        let broken = |why| Failure::new(ErrorCode::StreamBroken, why);
        let streamed = transcript.answer().map_err(broken)?;
        if streamed != *whole {
            let message = "the stream says something else than the whole answer";
            return Err(Failure::new(ErrorCode::WrongAnswer, message)
                .evidence([format!("stream: {streamed:?}"), format!("whole:  {whole:?}")]));
        }
        let n = transcript.chunks();
        Ok(((), format!("{n} chunks with role, finish_reason, usage and [DONE]; same text")))
    }

    /// Several questions at once have the answers that they have alone.
    pub async fn parallel(&self) -> Result<((), String), Failure> {
        let asks: Vec<Ask> = QUESTIONS[..self.at_once]
            .iter()
            .map(|question| Ask::new(question, PARALLEL_TOKENS))
            .collect();
        let mut alone = Vec::with_capacity(asks.len());
        let began = Instant::now();
        for ask in &asks {
            alone.push(self.client.ask(ask).await?);
        }
        let apart = began.elapsed();
        let began = Instant::now();
        let together = self.together(&asks).await?;
        let took = began.elapsed();
        let texts = |answers: &[Answer]| -> Vec<String> {
            answers.iter().map(|answer| answer.text.clone()).collect()
        };
        let same = compare(&texts(&alone), &texts(&together), self.exact)?;
        let tokens: u64 = together.iter().map(|answer| answer.usage.completion_tokens).sum();
        let speed = super::count(tokens) / took.as_secs_f64().max(1e-6);
        self.run.metric("parallel_tokens_per_s", speed);
        let each = super::count(alone.iter().map(|answer| answer.usage.completion_tokens).sum());
        let overlap = self.overlap(each / apart.as_secs_f64().max(1e-6)).await?;
        let n = asks.len();
        Ok(((), format!("{n} at once, {same}; {overlap}; {speed:.0} tokens/s together")))
    }

    /// Streams for all slots run at the same time: the last one has begun before the first one
    /// ends. Right answers alone do not show it, a worker may queue what it takes.
    async fn overlap(&self, speed: f64) -> Result<String, Failure> {
        let wrong = |message: String| Failure::new(ErrorCode::WrongAnswer, message);
        let n = self.slots.min(self.at_once);
        if n < 2 {
            return Err(wrong(format!("the worker has {n} slot where several were asked for")));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let tokens = (speed * STREAM_SPAN.as_secs_f64()).clamp(0.0, 1e6) as u64;
        let (least, most) = STREAM_TOKENS;
        let tokens = tokens.clamp(least, most).min(self.context / 2).max(2);
        let asks: Vec<Ask> =
            QUESTIONS[..n].iter().map(|question| Ask::endless(question, tokens)).collect();
        let mut lines = Vec::new();
        for _ in 0..TRIES {
            let began = Instant::now();
            let streams = self.each(&asks, |client, ask| async move { client.stream(&ask).await });
            let spans: Option<Vec<_>> = streams.await?.iter().map(Transcript::span).collect();
            let spans = spans.ok_or_else(|| wrong("a stream had no text".to_owned()))?;
            if meet(&spans) {
                return Ok(format!("{n} streams of {tokens} tokens at the same time"));
            }
            lines.extend(spans.iter().enumerate().map(|(n, (first, last))| {
                let (first, last) = (first.duration_since(began), last.duration_since(began));
                format!("stream {}: {:.1} ms to {:.1} ms", n + 1, ms(first), ms(last))
            }));
        }
        let message = format!("{n} streams never ran at the same time: the worker queues them");
        Err(wrong(message).evidence(lines))
    }

    async fn together(&self, asks: &[Ask]) -> Result<Vec<Answer>, Failure> {
        self.each(asks, |client, ask| async move { client.ask(&ask).await }).await
    }

    /// What comes of all these questions, sent at once, in their order.
    async fn each<T, F>(
        &self,
        asks: &[Ask],
        send: impl Fn(Client, Ask) -> F,
    ) -> Result<Vec<T>, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut running = JoinSet::new();
        for (n, ask) in asks.iter().cloned().enumerate() {
            let sent = send(self.client.clone(), ask);
            running.spawn(async move { (n, sent.await) });
        }
        let mut answers = Vec::with_capacity(asks.len());
        while let Some(answered) = running.join_next().await {
            let (n, answer) = answered.map_err(|error| {
                Failure::new(ErrorCode::Internal, format!("a request broke off: {error}"))
            })?;
            answers.push((n, answer?));
        }
        answers.sort_by_key(|(n, _)| *n);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

/// Whether there is a moment at which all of them had begun and none had ended.
fn meet(spans: &[(Instant, Instant)]) -> bool {
    let begun = spans.iter().map(|(first, _)| first).max();
    let ended = spans.iter().map(|(_, last)| last).min();
    begun < ended
}

/// Compares answers given at once with those given alone. Where numbers may depend on the batch, an
/// answer may differ from its own, but it must not be another's.
fn compare(alone: &[String], together: &[String], exact: bool) -> Result<String, Failure> {
    let mut same = 0;
    for (n, (own, got)) in alone.iter().zip(together).enumerate() {
        if own == got {
            same += 1;
            continue;
        }
        let other = alone.iter().position(|one| one == got);
        let why = match other {
            Some(m) => format!("question {} got the answer of question {}", n + 1, m + 1),
            None if exact => format!("question {} got another answer than alone", n + 1),
            None => continue,
        };
        return Err(Failure::new(ErrorCode::WrongAnswer, format!("{why} when asked at once"))
            .evidence([format!("alone:   {}", quoted(own)), format!("at once: {}", quoted(got))]));
    }
    let mut different = alone.to_vec();
    different.sort_unstable();
    different.dedup();
    let n = different.len();
    if n < 2 {
        // Of any model: one that does not hear the question is no evidence of anything.
        let message = format!("{} different questions had one and the same answer", alone.len());
        let lines = different.iter().map(|text| quoted(text));
        return Err(Failure::new(ErrorCode::WrongAnswer, message).evidence(lines));
    }
    match same == alone.len() {
        true => Ok(format!("each as alone, {n} of them different")),
        false => Ok(format!("{same} as alone, none mixed up, {n} of them different")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn answers_at_once_are_those_given_alone() {
        let alone = texts("a b c");
        let compare = |together, exact| {
            compare(&alone, &texts(together), exact).map_err(|failure| failure.message)
        };
        assert_eq!(compare("a b c", true), Ok("each as alone, 3 of them different".into()));
        let mixed = "question 1 got the answer of question 2 when asked at once";
        assert_eq!(compare("b a c", true), Err(mixed.into()));
        assert_eq!(compare("b a c", false), Err(mixed.into()));
        let other = "question 3 got another answer than alone when asked at once";
        assert_eq!(compare("a b x", true), Err(other.into()));
        let lenient = "2 as alone, none mixed up, 3 of them different";
        assert_eq!(compare("a b x", false), Ok(lenient.into()));
        let alike = super::compare(&texts("a a"), &texts("a a"), true).expect_err("alike");
        assert_eq!(alike.message, "2 different questions had one and the same answer");
    }

    #[test]
    fn streams_meet_only_if_none_ends_before_the_last_begins() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        assert!(meet(&[(at(0), at(9)), (at(3), at(12)), (at(8), at(20))]));
        assert!(!meet(&[(at(0), at(9)), (at(10), at(19))]));
        assert!(!meet(&[(at(0), at(9)), (at(1), at(8)), (at(9), at(19))]));
    }
}
