//! From an [`Ask`] to an [`Answer`]: what all routes that generate have in common.

use std::sync::Arc;
use std::time::Instant;

use dialtone_inference::Token;
use dialtone_inference::engine::{Finish, FinishReason, Output, Refused, Request, Usage};
use serde::Serialize;

use crate::answer::Answer;
use crate::ask::Ask;
use crate::refusal::Refusal;
use crate::worker::Serving;
use crate::{Worker, id};

/// Bytes of text from which on it is cut into tokens beside the event loop, not on it.
const LONG_TEXT: usize = 16 * 1024;

/// A request that the engine has taken.
pub struct Taken {
    pub head: Head,
    pub answer: Answer,
}

/// What every document of an answer begins with.
#[derive(Clone, Debug)]
pub struct Head {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub fingerprint: String,
    pub include_usage: bool,
}

/// Tokens of an answer, as OpenAI's API counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: Details,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Details {
    cached_tokens: usize,
}

impl From<Usage> for Used {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: Details { cached_tokens: usage.cached_tokens },
        }
    }
}

/// A whole answer.
pub struct Whole {
    pub text: String,
    pub finish: Finish,
}

impl Worker {
    /// Refuses a model that is not served here. None at all, the empty name and `default` mean
    /// the one that is.
    pub(crate) fn check_model(&self, asked: Option<&str>) -> Result<(), Refusal> {
        let served = &self.0.identity.model_id;
        match asked {
            None | Some("" | "default") => Ok(()),
            Some(asked) if asked == served => Ok(()),
            Some(asked) => Err(Refusal::model(asked, served)),
        }
    }

    /// Hands a prompt to the engine.
    pub(crate) fn submit(
        &self,
        ask: &Ask,
        prompt: Vec<Token>,
        prefix: &str,
        asked: Instant,
    ) -> Result<Taken, Refusal> {
        let serving = self.serving()?;
        let (options, session) = (&self.0.options, ask.session());
        let request = Request {
            id: id::fresh(prefix),
            prompt,
            max_tokens: ask.max_tokens(options, serving.engine.shape().context)?,
            sampling: ask.sampling(options)?,
            stop: ask.stop()?,
            session: session.map(|(_, name)| name.to_owned()),
            ignore_end: ask.ignore_eos == Some(true),
        };
        let head = Head {
            id: request.id.clone(),
            created: id::unix_seconds(),
            model: self.0.identity.model_id.clone(),
            fingerprint: self.fingerprint(serving),
            include_usage: ask.include_usage(),
        };
        let generation = serving.engine.submit(request).map_err(|refused| {
            match (refused, session) {
                // The engine has another name for it than the client.
                (Refused::Invalid { field: "session", reason }, Some((field, _))) => {
                    Refusal::invalid(field, format!("{field}: {reason}"))
                }
                (refused, _) => refused.into(),
            }
        })?;
        let answer = Answer::new(generation, self.0.metrics.clone(), asked);
        Ok(Taken { head, answer })
    }

    /// Refuses a prompt of `bytes` bytes of text before it costs anything: if it cannot fit
    /// whatever its tokens are, or if there is no room for any request.
    pub(crate) fn admit(&self, bytes: usize) -> Result<(), Refusal> {
        let engine = &self.serving()?.engine;
        let most = engine.longest().saturating_mul(self.longest_token());
        if bytes > most {
            let fit = engine.longest();
            let said = format!(
                "the prompt has {bytes} bytes; at most {fit} tokens fit, {most} bytes at the most"
            );
            return Err(Refusal::too_long(said));
        }
        Ok(engine.has_room()?)
    }

    /// Makes tokens of text with `encode`: beside the event loop if there is much of it, so that
    /// one long prompt holds up no other call, and only as many at once as there are cores.
    /// Whose client goes while it waits for its turn is never begun.
    pub(crate) async fn encode<F>(&self, bytes: usize, encode: F) -> Result<Vec<Token>, Refusal>
    where
        F: FnOnce(&Serving) -> Result<Vec<Token>, Refusal> + Send + 'static,
    {
        let serving = self.serving()?;
        if bytes < LONG_TEXT {
            return encode(serving);
        }
        let turn = Arc::clone(&self.0.encoders).acquire_owned().await;
        let worker = self.clone();
        let encoded = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, which goes on when the client has gone.
            let _turn = turn;
            encode(worker.serving()?)
        });
        encoded.await.map_err(|_| Refusal::failed("the prompt cannot be cut into tokens"))?
    }

    /// The same for answers that can be compared token by token: same model, same code, same
    /// instruction set.
    fn fingerprint(&self, serving: &Serving) -> String {
        let info = &serving.info;
        let bytes = info.bytes.to_le_bytes();
        let parts: [&[u8]; 6] = [
            info.name.as_bytes(),
            info.format.as_bytes(),
            &bytes,
            self.0.identity.backend.as_bytes(),
            serving.device.as_bytes(),
            self.0.identity.version.as_bytes(),
        ];
        format!("fp_{:016x}", dialtone_clock::seed_from(0, &parts))
    }
}

impl Taken {
    /// The whole answer, waited for. Dropping the future cancels the request.
    pub async fn whole(mut self) -> Result<(Head, Whole), Refusal> {
        let mut text = String::new();
        while let Some(output) = self.answer.next().await {
            match output {
                Output::Piece(piece) => text.push_str(&piece.text),
                Output::Finish(Finish { reason: FinishReason::Error(reason), .. }) => {
                    return Err(Refusal::failed(format!("the model failed: {reason}")));
                }
                Output::Finish(finish) => return Ok((self.head, Whole { text, finish })),
            }
        }
        Err(Refusal::failed("the engine is gone"))
    }
}
