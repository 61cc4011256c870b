use std::io::{BufReader, Read, Seek, SeekFrom};

use dialtone_contract::wire::LiveEntry;
use dialtone_contract::{FieldError, limits};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::scan::Scan;
use super::{Row, Upload, UploadError, Visit, row_error};

/// Bytes read from the upload at once.
const BUFFER: usize = 64 * 1024;
/// The member whose elements are the rows.
const ENTRIES: &str = "entries";

/// An object whose member `entries` lists the rows, wherever it stands among the others.
#[derive(Debug)]
pub struct JsonList<R> {
    reader: R,
}

impl<R: Read + Seek + Send> JsonList<R> {
    /// The list in `reader`, from its start.
    pub fn new(reader: R) -> Self {
        Self { reader }
    }

    /// Everything but the rows, as the text of a JSON object.
    ///
    /// # Errors
    /// If the body is not JSON through and through, no object, or without rows.
    pub fn head(&mut self) -> Result<Vec<u8>, UploadError> {
        let mut head = Vec::new();
        self.walk()?.object(&mut Reading::Head(&mut head))?;
        let mut text = b"{".to_vec();
        text.append(&mut head);
        text.push(b'}');
        Ok(text)
    }

    fn walk(&mut self) -> Result<Walk<BufReader<&mut R>>, UploadError> {
        self.reader.seek(SeekFrom::Start(0))?;
        let reader = BufReader::with_capacity(BUFFER, &mut self.reader);
        Ok(Walk { scan: Scan::new(reader), kept: Vec::new(), refused: None, stopped: false })
    }
}

impl<R: Read + Seek + Send> Upload for JsonList<R> {
    fn rows(&mut self, visit: &mut Visit<'_>) -> Result<(), UploadError> {
        self.walk()?.object(&mut Reading::Rows(visit))
    }
}

/// What of a body is wanted; the rest need only be JSON.
enum Reading<'r, 'v> {
    /// Its members but the rows, end to end.
    Head(&'r mut Vec<u8>),
    /// Its rows.
    Rows(&'r mut Visit<'v>),
}

struct Walk<R> {
    scan: Scan<R>,
    kept: Vec<u8>,
    /// The first field that is refused; told only when the rest has proved to be JSON.
    refused: Option<FieldError>,
    stopped: bool,
}

impl<R: std::io::BufRead> Walk<R> {
    fn object(&mut self, reading: &mut Reading<'_, '_>) -> Result<(), UploadError> {
        if !self.scan.accept(b'{')? {
            return self.no_object();
        }
        let mut seen = false;
        let mut first = true;
        while !self.scan.accept(b'}')? {
            if !std::mem::take(&mut first) {
                self.scan.expect(b',')?;
            }
            let name = self.name()?;
            self.scan.expect(b':')?;
            if name == ENTRIES {
                self.entries(std::mem::replace(&mut seen, true), reading)?;
            } else {
                self.member(&name, reading)?;
            }
            if self.stopped {
                return Ok(());
            }
        }
        if self.scan.token()?.is_some() {
            let place = self.scan.offset();
            return Err(UploadError::NotJson(format!("more follows the object at byte {place}")));
        }
        if !seen {
            self.refuse(FieldError::new("/entries", "missing", "missing field `entries`"));
        }
        self.refused.take().map_or(Ok(()), |field| Err(UploadError::Invalid(field)))
    }

    fn refuse(&mut self, field: FieldError) {
        self.refused.get_or_insert(field);
    }

    /// A body that is something else than an object: not JSON, or JSON of another type.
    fn no_object(&mut self) -> Result<(), UploadError> {
        let whole = self.scan.value(&mut self.kept, limits::UPLOAD_ROW_MAX)?;
        if whole {
            self.must_be_json()?;
        }
        if self.scan.token()?.is_some() {
            return Err(self.scan.not_json(b"{"));
        }
        let detail = "invalid type: expected an object";
        Err(UploadError::Invalid(FieldError::new("", "wrong_type", detail)))
    }

    fn name(&mut self) -> Result<String, UploadError> {
        if self.scan.token()? != Some(b'"') {
            return Err(self.scan.not_json(b"\"}"));
        }
        let at = self.scan.offset();
        if self.scan.value(&mut self.kept, limits::UPLOAD_ROW_MAX)? {
            return serde_json::from_slice(&self.kept).map_err(|error| not_json(at, &error));
        }
        self.refuse(FieldError::new("", "unknown_field", "a field with an endless name"));
        Ok(String::new())
    }

    /// What was kept last, as UTF-8 text that is one JSON value.
    fn must_be_json(&self) -> Result<(), UploadError> {
        let at = self.scan.offset().saturating_sub(self.kept.len() as u64);
        if std::str::from_utf8(&self.kept).is_err() {
            return Err(UploadError::NotJson(format!("no UTF-8 text from byte {at} on")));
        }
        serde_json::from_slice::<IgnoredAny>(&self.kept).map_err(|error| not_json(at, &error))?;
        Ok(())
    }

    fn member(&mut self, name: &str, reading: &mut Reading<'_, '_>) -> Result<(), UploadError> {
        let whole = self.scan.value(&mut self.kept, limits::UPLOAD_HEAD_MAX)?;
        if whole {
            self.must_be_json()?;
        }
        let Reading::Head(head) = reading else { return Ok(()) };
        let spelled = serde_json::to_vec(name).expect("a text");
        if !whole || head.len() + spelled.len() + self.kept.len() > limits::UPLOAD_HEAD_MAX {
            let detail = format!("larger than {} bytes", limits::UPLOAD_HEAD_MAX);
            let name = name.replace('~', "~0").replace('/', "~1");
            self.refuse(FieldError::new(format!("/{name}"), "too_large", detail));
            return Ok(());
        }
        if !head.is_empty() {
            head.push(b',');
        }
        head.extend(spelled);
        head.push(b':');
        head.append(&mut self.kept);
        Ok(())
    }

    fn entries(&mut self, again: bool, reading: &mut Reading<'_, '_>) -> Result<(), UploadError> {
        if again {
            self.refuse(FieldError::new("/entries", "invalid", "duplicate field `entries`"));
        }
        if !self.scan.accept(b'[')? {
            if self.scan.value(&mut self.kept, limits::UPLOAD_ROW_MAX)? {
                self.must_be_json()?;
            }
            let detail = "invalid type: expected a list";
            self.refuse(FieldError::new("/entries", "wrong_type", detail));
            return Ok(());
        }
        let mut number = 0;
        while !self.scan.accept(b']')? {
            if number > 0 {
                self.scan.expect(b',')?;
            }
            number += 1;
            if number > limits::ENTRIES_MAX {
                self.refuse(too_many());
            }
            match reading {
                Reading::Rows(visit) if self.refused.is_none() => {
                    let entry = self.entry(number)?;
                    if visit(Row { number, entry, raw: &self.kept }).is_break() {
                        self.stopped = true;
                        return Ok(());
                    }
                }
                Reading::Head(_) | Reading::Rows(_) => {
                    if self.scan.value(&mut self.kept, limits::UPLOAD_ROW_MAX)? {
                        self.must_be_json()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, number: u32) -> Result<Result<LiveEntry, FieldError>, UploadError> {
        if !self.scan.value(&mut self.kept, limits::UPLOAD_ROW_MAX)? {
            return Ok(Err(too_large(number)));
        }
        if self.kept.first() == Some(&b'{')
            && let Ok(entry) = serde_json::from_slice(&self.kept)
        {
            return Ok(Ok(entry));
        }
        self.must_be_json()?;
        Ok(Err(refusal(number, &self.kept)))
    }
}

pub(super) fn too_many() -> FieldError {
    let detail = format!("more than {} entries", limits::ENTRIES_MAX);
    FieldError::new("/entries", "out_of_range", detail)
}

pub(super) fn too_large(number: u32) -> FieldError {
    let detail = format!("larger than {} bytes", limits::UPLOAD_ROW_MAX);
    row_error(number, "", "too_large", detail)
}

fn not_json(from: u64, error: &serde_json::Error) -> UploadError {
    let text = error.to_string();
    // The parser's line and column count from the value, not from the body.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    UploadError::NotJson(format!("{text} in the value at byte {from}"))
}

/// Why a value that is JSON is no entry. Quotes nothing of it: it may be a number.
fn refusal(number: u32, text: &[u8]) -> FieldError {
    let wrong = |field: &str, expected: &str| {
        row_error(number, field, "wrong_type", format!("invalid type: expected {expected}"))
    };
    let entry = match serde_json::from_slice(text) {
        Ok(Value::Object(entry)) => entry,
        Ok(_) => return wrong("", "an object"),
        Err(_) => return row_error(number, "", "invalid", "nested too deep, or half a character"),
    };
    let known = |name: &str| matches!(name, "to" | "variables" | "timezone");
    if let Some(name) = entry.keys().find(|name| !known(name)) {
        let place = name.replace('~', "~0").replace('/', "~1");
        let detail = "unknown field, expected one of `to`, `variables`, `timezone`";
        return row_error(number, &place, "unknown_field", detail);
    }
    match entry.get("to") {
        None => return row_error(number, "to", "missing", "missing field `to`"),
        Some(Value::String(_)) => {}
        Some(_) => return wrong("to", "a text"),
    }
    if !matches!(entry.get("variables"), None | Some(Value::Null | Value::Object(_))) {
        return wrong("variables", "an object");
    }
    if !matches!(entry.get("timezone"), None | Some(Value::Null | Value::String(_))) {
        return wrong("timezone", "a text");
    }
    row_error(number, "", "invalid", "a field stands there twice")
}
