//! Chat templates: messages to the one text that the model was trained on.
//!
//! Templates come with the model, in Jinja, written for the Python library `transformers`; they
//! are set up here as it does (`apply_chat_template`: `trim_blocks`, `lstrip_blocks`, the
//! functions `raise_exception` and `strftime_now`, a `tojson` that escapes nothing for HTML).
//!
//! Contents of messages are not trusted: a caller may say `<|im_end|>`. So contents are
//! [veiled](veil) while the template runs, and what comes out tells template and content apart
//! character by character. Only names that the template itself wrote become control tokens.

mod date;
mod python;
mod veil;

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::mpsc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};

use crate::Token;
use crate::gguf::Gguf;
use crate::tokenizer::Tokenize;

use veil::Veil;

/// Steps that a template may take for one conversation; a long one needs some thousands.
const FUEL: u64 = 2_000_000;
/// Nested calls and blocks in a template.
const DEPTH: usize = 100;
/// Longest template; the longest of known models is below 32 KiB.
const LONGEST_SOURCE: usize = 512 << 10;
/// What a template may write besides the contents of the messages, in bytes.
const LONGEST_OUTPUT: usize = 1 << 20;
/// How long a template may take for the conversation that it is tried on; milliseconds are usual.
const TRIAL: Duration = Duration::from_secs(5);

/// The ChatML format, for models that have its tokens and no template.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// For models without a template and without ChatML's tokens: what a base model is likeliest
/// to continue well.
const PLAIN: &str = "{% for message in messages %}{% if message.role == 'system' %}\
    {{ message.content }}\n\n{% else %}{{ message.role | capitalize }}: {{ message.content }}\n\
    {% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it: `system`, `user`, `assistant`, `tool`. Letters, digits, `_` and `-`.
    pub role: String,
    /// What is said. Never trusted.
    pub content: String,
}

/// A conversation as the model wants it written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// The byte ranges that contents of messages wrote, in order.
    pub untrusted: Vec<Range<usize>>,
}

/// Why a template cannot be used, or not for a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The template is not one that runs here.
    #[error("the chat template does not work: {0}")]
    Broken(String),
    /// The template refuses the conversation, in its own words.
    #[error("the chat template refuses the conversation: {0}")]
    Refused(String),
    /// A role that no template knows.
    #[error("{0:?} is not a role: letters, digits, `_` and `-` only")]
    Role(String),
    /// The template took too many steps or wrote too much.
    #[error("the chat template takes too long or writes too much")]
    TooMuch,
}

/// How a model wants a conversation written.
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl Message {
    /// What `role` says.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

impl ChatTemplate {
    /// The name under which the one template is kept.
    const NAME: &'static str = "chat";

    /// The template `source`; `begin` and `end` are the names of the tokens that begin and end
    /// a text, which templates write. Without a source, a plain format: `User: ..`.
    ///
    /// The template is tried on a short conversation. One that fails is an error rather than a
    /// reason to take another format: the model would be asked in a way that it was not trained
    /// on, and nobody would know why its answers are poor.
    ///
    /// # Errors
    /// [`Error::Broken`] or [`Error::TooMuch`].
    pub fn new(source: Option<&str>, begin: &str, end: &str) -> Result<Self, Error> {
        let source = source.unwrap_or(PLAIN);
        if source.len() > LONGEST_SOURCE {
            return Err(Error::Broken(format!("it is {} bytes long", source.len())));
        }
        let template = Self {
            environment: environment(source, date::FIXED)?,
            begin: begin.to_owned(),
            end: end.to_owned(),
        };
        template.try_out()
    }

    /// The template of a model file. Without one: ChatML if the vocabulary has its tokens,
    /// else the plain format.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_gguf(gguf: &Gguf, tokenizer: &dyn Tokenize) -> Result<Self, Error> {
        let of = gguf.metadata();
        let broken = |error: crate::gguf::Error| Error::Broken(error.to_string());
        let name = |key: &str| -> Result<&str, Error> {
            let id = of.u64(key).map_err(broken)?;
            Ok(id.and_then(|id| Token::try_from(id).ok()).map_or("", |id| tokenizer.name(id)))
        };
        let source = of.str("tokenizer.chat_template").map_err(broken)?;
        let chatml = || {
            let is_one = |name: &str| tokenizer.encode(name, true).len() == 1;
            (is_one("<|im_start|>") && is_one("<|im_end|>")).then_some(CHATML)
        };
        let source = source.or_else(chatml);
        Self::new(
            source,
            name("tokenizer.ggml.bos_token_id")?,
            name("tokenizer.ggml.eos_token_id")?,
        )
    }

    /// With another time for the templates that write today's date, in seconds since 1970
    /// (UTC). Without it they write 26 Jul 2024, as Llama 3's own does where it knows no date:
    /// the same conversation is always the same prompt.
    #[must_use]
    pub fn at(mut self, unix_seconds: i64) -> Self {
        python::set_time(&mut self.environment, unix_seconds);
        self
    }

    /// The conversation as one text, for people. Not for the model: what contents say cannot
    /// be told apart from what the template says; see [`prompt`](Self::prompt).
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, Error> {
        Ok(self.prompt(messages, add_generation_prompt)?.text)
    }

    /// The conversation as one text, with `add_generation_prompt` up to where the model is to
    /// answer.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Role`] if the conversation is at fault,
    /// [`Error::Broken`] and [`Error::TooMuch`] if the template is.
    pub fn prompt(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Prompt, Error> {
        let mut veil = Veil::default();
        let mut values = Vec::with_capacity(messages.len());
        let mut limit = LONGEST_OUTPUT;
        for Message { role, content } in messages {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
            if role.is_empty() || !role.chars().all(plain) {
                return Err(Error::Role(role.clone()));
            }
            // A template may write a content twice; veiled, a letter has up to four bytes.
            limit = limit.saturating_add(content.len().saturating_mul(8));
            values.push(context! { role, content => veil.cover(content) });
        }
        let template = self.environment.get_template(Self::NAME).map_err(|e| python::error(&e))?;
        let mut output = Bounded { bytes: Vec::new(), limit };
        let context = context! {
            messages => values,
            add_generation_prompt,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        template.render_captured_to(context, &mut output).map_err(|e| python::error(&e))?;
        let text = String::from_utf8(output.bytes).map_err(|e| Error::Broken(e.to_string()))?;
        Ok(veil.lift(&text))
    }

    /// Runs the template once, on a thread of its own: nothing else bounds the time and memory
    /// of what one step may do. If it does not come back, the caller is about to give up on
    /// the model, and the thread ends with the process.
    fn try_out(self) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel();
        let trial = move || {
            let messages = [Message::new("user", "Hello")];
            let result = match self.prompt(&messages, true) {
                // It wants another kind of conversation, which is its right.
                Ok(_) | Err(Error::Refused(_)) => Ok(self),
                Err(error) => Err(error),
            };
            // Nobody waits any more if this fails.
            let _ = sender.send(result);
        };
        let thread = std::thread::Builder::new().name("template".into()).spawn(trial);
        thread.map_err(|error| Error::Broken(format!("no thread to try it on: {error}")))?;
        receiver.recv_timeout(TRIAL).unwrap_or(Err(Error::TooMuch))
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").finish_non_exhaustive()
    }
}

/// The tokens of a conversation: control tokens where the template wrote their names, plain
/// text where contents did. Begins with the model's begin token, once, where it wants one.
///
/// # Errors
/// As [`ChatTemplate::prompt`].
pub fn encode_chat(
    tokenizer: &dyn Tokenize,
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<Vec<Token>, Error> {
    let Prompt { text, untrusted } = template.prompt(messages, add_generation_prompt)?;
    let mut tokens = tokenizer.encode_marked(&text, &untrusted);
    if let Some(begin) = tokenizer.begin()
        && tokens.first() != Some(&begin)
    {
        tokens.insert(0, begin);
    }
    Ok(tokens)
}

fn environment(source: &str, unix_seconds: i64) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|e| python::error(&e))?);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    python::set_up(&mut environment);
    python::set_time(&mut environment, unix_seconds);
    let source: Cow<'_, str> = python::without_marks(source);
    environment
        .add_template_owned(ChatTemplate::NAME, source.into_owned())
        .map_err(|e| python::error(&e))?;
    Ok(environment)
}

/// Keeps what is written, up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
