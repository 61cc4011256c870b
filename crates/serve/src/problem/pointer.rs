use dialtone_contract::{ErrorCode, FieldError, Problem};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Reads a JSON body.
///
/// # Errors
/// 400 if it is not JSON, 422 with a pointer if a field is not valid.
pub fn read<T: DeserializeOwned + Serialize>(body: &[u8]) -> Result<T, Box<Problem>> {
    // RFC 8259, section 8.1: JSON between systems is UTF-8. serde looks only at the texts
    // that it keeps.
    if let Err(error) = std::str::from_utf8(body) {
        return Err(Problem::new(ErrorCode::NotJson, error.to_string()).into());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let error = match serde_path_to_error::deserialize(&mut json) {
        Ok(value) => {
            json.end().map_err(|error| not_json(&error))?;
            return refuse_lists(body, value);
        }
        Err(error) => error,
    };
    // A field can be refused before the reader meets the place where the JSON breaks.
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| not_json(&error))?;
    let whole = serde_json::from_slice(body).unwrap_or_default();
    let at = pointer(error.path(), &whole);
    if at.is_empty() && whole.is_array() {
        return Err(a_list_at(at));
    }
    let message = error.inner().to_string();
    // The place in the text says less than the pointer.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    Err(Problem::invalid(vec![field_error(at, message)]).into())
}

/// Refuses a list where an object is meant: serde takes one for the fields in their order.
fn refuse_lists<T: Serialize>(body: &[u8], value: T) -> Result<T, Box<Problem>> {
    if !body.contains(&b'[') {
        return Ok(value);
    }
    let sent = serde_json::from_slice(body).unwrap_or_default();
    let read = serde_json::to_value(&value).unwrap_or_default();
    match list_for_object(&sent, &read, "") {
        Some(at) => Err(a_list_at(at)),
        None => Ok(value),
    }
}

fn a_list_at(at: String) -> Box<Problem> {
    let detail = "invalid type: sequence, expected an object";
    Problem::invalid(vec![field_error(at, detail)]).into()
}

fn list_for_object(sent: &Value, read: &Value, at: &str) -> Option<String> {
    match (sent, read) {
        (Value::Array(_), Value::Object(_)) => Some(at.to_owned()),
        (Value::Object(sent), Value::Object(read)) => sent
            .iter()
            .find_map(|(name, value)| list_for_object(value, read.get(name)?, &join(at, name))),
        (Value::Array(sent), Value::Array(read)) => {
            (0..).zip(sent.iter().zip(read)).find_map(|(index, (sent, read))| {
                list_for_object(sent, read, &format!("{at}/{index}"))
            })
        }
        _ => None,
    }
}

fn not_json(error: &serde_json::Error) -> Box<Problem> {
    Problem::new(ErrorCode::NotJson, error.to_string()).into()
}

/// What a message of serde says about the field at `pointer`.
pub fn field_error(pointer: String, message: &str) -> FieldError {
    let named = |prefix: &str| message.strip_prefix(prefix)?.split('`').next();
    if let Some(name) = named("unknown field `") {
        // The path ends at the field itself, unless serde had to buffer what is above.
        let at = if last(&pointer) == Some(token(name)) { pointer } else { join(&pointer, name) };
        return FieldError::new(at, "unknown_field", message);
    }
    if let Some(name) = named("missing field `") {
        return FieldError::new(join(&pointer, name), "missing", message);
    }
    if let Some(name) = named("duplicate field `") {
        let at = if last(&pointer) == Some(token(name)) { pointer } else { join(&pointer, name) };
        return FieldError::new(at, "invalid", message);
    }
    FieldError::new(pointer, code(message), message)
}

fn code(message: &str) -> &'static str {
    let numeric =
        ["invalid value: integer", "invalid value: floating point", "number out of range"];
    if numeric.iter().any(|prefix| message.starts_with(prefix)) {
        "out_of_range"
    } else if message.starts_with("invalid type: floating point") {
        // Integers beyond 64 bits reach the field as floating point.
        match message.split('`').nth(1).and_then(|number| number.parse::<f64>().ok()) {
            Some(number) if number.abs() >= 2_f64.powi(63) => "out_of_range",
            _ => "wrong_type",
        }
    } else if message.starts_with("invalid type:") {
        "wrong_type"
    } else {
        "invalid"
    }
}

/// The RFC 6901 pointer for a path into `whole`.
fn pointer(path: &Path, whole: &Value) -> String {
    path.iter().fold(String::new(), |at, segment| match segment {
        Segment::Seq { index } => format!("{at}/{index}"),
        Segment::Map { key } => join(&at, key),
        // A variant is a member only where the enum is tagged from outside.
        Segment::Enum { variant } => {
            let member = join(&at, variant);
            if whole.pointer(&member).is_some() { member } else { at }
        }
        Segment::Unknown => at,
    })
}

pub fn join(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", token(name))
}

fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn last(pointer: &str) -> Option<String> {
    pointer.rsplit_once('/').map(|(_, last)| last.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Batch {
        total: u32,
        #[serde(default)]
        entries: Vec<Entry>,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        names: BTreeMap<String, u8>,
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        to: String,
    }

    #[derive(Debug, Deserialize, Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Exact,
        Weighted(Vec<u8>),
    }

    fn refused(body: &str) -> (u16, String, String) {
        let problem = read::<Batch>(body.as_bytes()).expect_err(body);
        let first = problem.errors.first();
        (
            problem.status,
            first.map(|e| e.pointer.clone()).unwrap_or_default(),
            first.map(|e| e.code.clone()).unwrap_or_default(),
        )
    }

    #[test]
    fn what_is_not_json_is_a_400() {
        let bodies = ["", " ", "{", "{\"total\":1,}", "{\"total\":1}x", "{\"total\":-1,", "nul"];
        for body in bodies {
            assert_eq!(refused(body).0, 400, "{body}");
        }
    }

    #[test]
    fn a_field_that_is_not_valid_is_named() {
        let cases = [
            (r#"{"total":1,"foo":2}"#, "/foo", "unknown_field"),
            (r#"{"total":1,"a/b~c":2}"#, "/a~1b~0c", "unknown_field"),
            (
                r#"{"total":1,"entries":[{"to":"a"},{"to":"b","x":1}]}"#,
                "/entries/1/x",
                "unknown_field",
            ),
            (r"{}", "/total", "missing"),
            (r#"{"total":1,"entries":[{}]}"#, "/entries/0/to", "missing"),
            (r#"{"total":-1}"#, "/total", "out_of_range"),
            (r#"{"total":4294967296}"#, "/total", "out_of_range"),
            (r#"{"total":99999999999999999999}"#, "/total", "out_of_range"),
            (r#"{"total":1e999}"#, "/total", "out_of_range"),
            (r#"{"total":1.5}"#, "/total", "wrong_type"),
            (r#"{"total":"1"}"#, "/total", "wrong_type"),
            (r#"{"total":null}"#, "/total", "wrong_type"),
            (r#"{"total":1,"entries":[{"to":5}]}"#, "/entries/0/to", "wrong_type"),
            (r#"{"total":1,"names":{"a/b":300}}"#, "/names/a~1b", "out_of_range"),
            (r#"{"total":1,"mode":"odd"}"#, "/mode", "invalid"),
            (r#"{"total":1,"mode":{"weighted":[1,-1]}}"#, "/mode/weighted/1", "out_of_range"),
            (r#"{"total":1,"total":2}"#, "/total", "invalid"),
            ("[]", "", "wrong_type"),
            ("[1]", "", "wrong_type"),
            (r#"{"total":1,"entries":[["a"]]}"#, "/entries/0", "wrong_type"),
            ("7", "", "wrong_type"),
        ];
        for (body, pointer, code) in cases {
            let expected = (422, pointer.to_owned(), code.to_owned());
            assert_eq!(refused(body), expected, "{body}");
        }
    }
}
