use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use dialtone_contract::wire::LiveEntry;
use dialtone_contract::{FieldError, limits};
use serde_json::{Map, Value};

use super::columns::{self, Target};
use super::json::{too_large, too_many};
use super::{Row, Upload, UploadError, Visit, row_error};

/// Bytes read from the upload at once.
const BUFFER: usize = 64 * 1024;
/// What spreadsheets put first into UTF-8 files.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// What separates cells, by country and program.
const SEPARATORS: &[u8] = b",;\t";

/// A table with a head, as spreadsheets write it: cells separated by comma, semicolon or
/// tab, quoted where need be (RFC 4180), any line ends, with or without byte order mark.
#[derive(Debug)]
pub struct Table<R> {
    reader: R,
    map: String,
}

impl<R: Read + Seek + Send> Table<R> {
    /// The table in `reader`, from its start. `map` says where columns go:
    /// `COLUMN:to,COLUMN:timezone,COLUMN:NAME,COLUMN:-`.
    pub fn new(reader: R, map: impl Into<String>) -> Self {
        Self { reader, map: map.into() }
    }
}

impl<R: Read + Seek + Send> Upload for Table<R> {
    fn rows(&mut self, visit: &mut Visit<'_>) -> Result<(), UploadError> {
        self.reader.seek(SeekFrom::Start(0))?;
        let mut lines = Lines::new(BufReader::with_capacity(BUFFER, &mut self.reader));
        let names = lines.head()?;
        let targets = columns::targets(&names, &self.map).map_err(UploadError::Invalid)?;
        let mut record = Record::default();
        let mut number = 0;
        while lines.record(&mut record)? {
            if record.is_blank() {
                continue;
            }
            number += 1;
            if record.unclosed {
                let detail = format!("the quote in line {} is never closed", record.line);
                return Err(UploadError::Invalid(row_error(number, "", "unclosed_quote", detail)));
            }
            if number > limits::ENTRIES_MAX {
                return Err(UploadError::Invalid(too_many()));
            }
            let entry = record.entry(number, &targets).map_err(|mut refused: FieldError| {
                refused.detail = format!("line {}: {}", record.line, refused.detail);
                refused
            });
            if visit(Row { number, entry, raw: &record.bytes }) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

/// One record of a table: its cells end to end.
#[derive(Debug, Default)]
struct Record {
    bytes: Vec<u8>,
    /// Where each cell ends.
    ends: Vec<usize>,
    /// Line of the file that it begins in, from 1.
    line: u64,
    /// Whether there was more of it than is kept.
    cut: bool,
    /// Whether the file ended inside a quoted cell.
    unclosed: bool,
}

impl Record {
    fn begin(&mut self, line: u64) {
        self.bytes.clear();
        self.ends.clear();
        (self.line, self.cut, self.unclosed) = (line, false, false);
    }

    fn push(&mut self, byte: u8) {
        if self.bytes.len() < limits::UPLOAD_ROW_MAX {
            self.bytes.push(byte);
        } else {
            self.cut = true;
        }
    }

    fn end_cell(&mut self) {
        if self.ends.len() < limits::UPLOAD_ROW_MAX {
            self.ends.push(self.bytes.len());
        } else {
            self.cut = true;
        }
    }

    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end])
    }

    /// Rows without any content are what a spreadsheet writes for empty lines.
    fn is_blank(&self) -> bool {
        !self.unclosed && !self.cut && self.bytes.trim_ascii().is_empty()
    }

    fn entry(&self, number: u32, targets: &[Target]) -> Result<LiveEntry, FieldError> {
        if self.cut {
            return Err(too_large(number));
        }
        let mut entry = LiveEntry { to: String::new(), variables: None, timezone: None };
        let mut variables = Map::new();
        for (at, cell) in self.cells().enumerate() {
            let Ok(text) = std::str::from_utf8(cell) else {
                let detail = format!("cell {} is no UTF-8 text; save the table as UTF-8", at + 1);
                return Err(row_error(number, "", "not_utf8", detail));
            };
            match targets.get(at) {
                Some(Target::To) => entry.to = text.trim().to_owned(),
                Some(Target::Timezone) => {
                    let zone = text.trim();
                    entry.timezone = (!zone.is_empty()).then(|| zone.to_owned());
                }
                Some(Target::Variable(name)) => {
                    variables.insert(name.clone(), Value::String(text.to_owned()));
                }
                Some(Target::LeftOut) => {}
                None if text.trim().is_empty() => {}
                None => {
                    let detail = format!("more cells than the head's {}", targets.len());
                    return Err(row_error(number, "", "too_many_cells", detail));
                }
            }
        }
        entry.variables = (!variables.is_empty()).then_some(variables);
        Ok(entry)
    }
}

/// Reads records.
struct Lines<R> {
    reader: R,
    separator: u8,
    line: u64,
}

/// Where in a cell the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before its first byte.
    Start,
    /// In a cell without quotes, or behind the closing quote.
    Plain,
    /// Between quotes.
    Quoted,
    /// Behind a quote that closes the cell, unless another one follows.
    Quote,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, separator: b',', line: 1 }
    }

    /// The names of the columns; finds out what separates cells.
    fn head(&mut self) -> Result<Vec<String>, UploadError> {
        let refused = |code: &str, detail: &str| {
            UploadError::Invalid(FieldError::new("/header", code, detail))
        };
        if self.reader.fill_buf()?.starts_with(BOM) {
            self.reader.consume(BOM.len());
        }
        loop {
            // The separator is not known yet: one that occurs in no file gives the line whole.
            let mut line = self.line_as_it_is()?;
            if line.is_empty() && self.reader.fill_buf()?.is_empty() {
                return Err(refused("missing", "the table is empty"));
            }
            if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
                return Err(refused("not_utf8", "the table is UTF-16; save it as UTF-8"));
            }
            if line.len() > limits::UPLOAD_ROW_MAX {
                return Err(refused("too_large", "the first line is too long for a head"));
            }
            // Excel names its separator this way, in a line before the head.
            if let Some(separator) = line.trim_ascii().strip_prefix(b"sep=") {
                if let [separator] = separator {
                    self.separator = *separator;
                    line = self.line_as_it_is()?;
                }
            } else {
                self.separator = separator_of(&line);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut record = Record::default();
            Lines { reader: &line[..], separator: self.separator, line: 1 }.record(&mut record)?;
            let text = |cell: &[u8]| String::from_utf8(cell.to_vec());
            let names: Result<Vec<_>, _> = record.cells().map(text).collect();
            return names.map_err(|_| refused("not_utf8", "the head is no UTF-8 text"));
        }
    }

    /// The bytes up to the next line end outside quotes, one more than a row may have at
    /// most.
    fn line_as_it_is(&mut self) -> Result<Vec<u8>, UploadError> {
        let mut line = Vec::new();
        let mut quoted = false;
        while let Some(byte) = self.byte()? {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' | b'\r' if !quoted => {
                    self.end_line(byte)?;
                    break;
                }
                b'\n' => self.line += 1,
                _ => {}
            }
            line.push(byte);
            if line.len() > limits::UPLOAD_ROW_MAX {
                break;
            }
        }
        Ok(line)
    }

    fn byte(&mut self) -> Result<Option<u8>, UploadError> {
        let byte = self.reader.fill_buf()?.first().copied();
        if byte.is_some() {
            self.reader.consume(1);
        }
        Ok(byte)
    }

    /// Takes the second half of CR LF.
    fn end_line(&mut self, byte: u8) -> Result<(), UploadError> {
        if byte == b'\r' && self.reader.fill_buf()?.first() == Some(&b'\n') {
            self.reader.consume(1);
        }
        self.line += 1;
        Ok(())
    }

    /// Reads the next record; `false` at the end of the file.
    fn record(&mut self, record: &mut Record) -> Result<bool, UploadError> {
        record.begin(self.line);
        let mut at = At::Start;
        let mut empty = true;
        while let Some(byte) = self.byte()? {
            empty = false;
            match (at, byte) {
                (At::Quoted, b'"') => at = At::Quote,
                (At::Quoted, _) => {
                    self.line += u64::from(byte == b'\n');
                    record.push(byte);
                }
                (At::Start, b'"') => at = At::Quoted,
                (At::Quote, b'"') => {
                    record.push(byte);
                    at = At::Quoted;
                }
                (_, b'\n' | b'\r') => {
                    record.end_cell();
                    self.end_line(byte)?;
                    return Ok(true);
                }
                (_, byte) if byte == self.separator => {
                    record.end_cell();
                    at = At::Start;
                }
                (_, byte) => {
                    record.push(byte);
                    at = At::Plain;
                }
            }
        }
        if empty {
            return Ok(false);
        }
        record.unclosed = at == At::Quoted;
        record.end_cell();
        Ok(true)
    }
}

/// The separator that occurs most often in the head outside quotes; a comma if none does.
fn separator_of(head: &[u8]) -> u8 {
    let mut counts = [0_usize; SEPARATORS.len()];
    let mut quoted = false;
    for byte in head {
        match SEPARATORS.iter().position(|separator| separator == byte) {
            Some(at) if !quoted => counts[at] += 1,
            _ => quoted ^= *byte == b'"',
        }
    }
    let best = (0..counts.len()).rev().max_by_key(|at| counts[*at]).unwrap_or_default();
    SEPARATORS[best]
}
