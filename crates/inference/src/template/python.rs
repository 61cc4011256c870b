//! What `transformers` gives to templates beyond plain Jinja.

use std::borrow::Cow;
use std::fmt;

use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value};
use regex::Regex;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::{Error, date};

/// What a template says when it raises an exception.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Adds the functions and filters, and the methods of Python's strings, lists and dicts.
pub(super) fn set_up(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Value, _> {
        let error = minijinja::Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
}

/// Sets the time that `strftime_now` tells.
pub(super) fn set_time(environment: &mut Environment<'static>, unix_seconds: i64) {
    environment
        .add_function("strftime_now", move |format: String| date::format(unix_seconds, &format));
}

/// The source without the tags `generation` and `endgeneration`, which mark for training what
/// the model said and write nothing.
pub(super) fn without_marks(source: &str) -> Cow<'_, str> {
    match Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})") {
        Ok(marks) => marks.replace_all(source, |found: &regex::Captures<'_>| {
            let word = if found.get(2).is_some() { "endif" } else { "if true" };
            format!("{}{word}{}", &found[1], &found[3])
        }),
        Err(_) => Cow::Borrowed(source),
    }
}

/// What an error of the template engine means here.
pub(super) fn error(error: &minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if let Some(Raised(message)) = at.downcast_ref() {
            return Error::Refused(message.clone());
        }
        cause = at.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => Error::TooMuch,
        _ => Error::Broken(error.to_string()),
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
#[expect(clippy::needless_pass_by_value, reason = "filters take their arguments so")]
fn to_json(value: &Value, args: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = args.get("indent")?;
    // Accepted, and without effect: nothing is escaped that need not be.
    let _: Option<Value> = args.get("ensure_ascii")?;
    let _: Option<Value> = args.get("separators")?;
    let _: Option<Value> = args.get("sort_keys")?;
    args.assert_all_used()?;
    let mut json = Vec::new();
    let written = match indent {
        Some(width) => {
            let spaces = vec![b' '; width.min(16)];
            let formatter = PrettyFormatter::with_indent(&spaces);
            value.serialize(&mut Serializer::with_formatter(&mut json, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut json, Spaced)),
    };
    let text = written
        .map_err(|e| e.to_string())
        .and_then(|()| String::from_utf8(json).map_err(|e| e.to_string()));
    text.map(Value::from).map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e))
}

/// One line, with spaces after commas and colons, as Python writes it.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
