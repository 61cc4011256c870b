use std::io::{self, BufRead};

use super::UploadError;

/// A cursor over JSON text that tells where values begin and end, without reading more
/// of it into memory than it is asked to keep. Whether what it kept is JSON is left to
/// whoever parses it.
pub(super) struct Scan<R> {
    reader: R,
    offset: u64,
}

impl<R: BufRead> Scan<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, offset: 0 }
    }

    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn take(&mut self, n: usize) {
        self.reader.consume(n);
        self.offset += n as u64;
    }

    /// The next byte that is no space, not yet taken.
    pub(super) fn token(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let spaces = buffer.iter().take_while(|b| b" \t\r\n".contains(b)).count();
            let found = buffer.get(spaces).copied();
            self.take(spaces);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Takes the next token if it is `byte`.
    pub(super) fn accept(&mut self, byte: u8) -> io::Result<bool> {
        let found = self.token()? == Some(byte);
        if found {
            self.take(1);
        }
        Ok(found)
    }

    /// Takes the next token, which must be `byte`.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), UploadError> {
        if self.accept(byte)? { Ok(()) } else { Err(self.not_json(&[byte])) }
    }

    /// The body breaks at the place of the next token.
    pub(super) fn not_json(&mut self, expected: &[u8]) -> UploadError {
        let expected: Vec<_> = expected.iter().map(|b| format!("`{}`", char::from(*b))).collect();
        let expected = expected.join(" or ");
        let place = match self.peek() {
            Ok(Some(_)) => format!("at byte {}", self.offset),
            Ok(None) => "where the body ends".to_owned(),
            Err(error) => return error.into(),
        };
        UploadError::NotJson(format!("expected {expected} {place}"))
    }

    /// Where the next byte stands in the body.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes one value and keeps up to `most` of its bytes; whether that was all of it.
    pub(super) fn value(&mut self, kept: &mut Vec<u8>, most: usize) -> Result<bool, UploadError> {
        kept.clear();
        let first = self.token()?;
        let mut shape = match first {
            None | Some(b',' | b':' | b'}' | b']') => {
                return Err(UploadError::NotJson(format!(
                    "expected a value at byte {}",
                    self.offset
                )));
            }
            Some(b'"' | b'{' | b'[') => Shape::default(),
            Some(_) => Shape { scalar: true, ..Shape::default() },
        };
        let mut whole = true;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                // A scalar may end with the body; the caller wants more after it anyway.
                return if shape.scalar {
                    Ok(whole)
                } else {
                    Err(UploadError::NotJson("the body ends inside a value".to_owned()))
                };
            }
            let end = shape.end(buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = most - kept.len();
            whole &= part.len() <= room;
            kept.extend_from_slice(&part[..part.len().min(room)]);
            let n = part.len();
            self.take(n);
            if end.is_some() {
                return Ok(whole);
            }
        }
    }
}

/// What must be remembered of a value from one buffer to the next to find its end.
#[derive(Default)]
struct Shape {
    scalar: bool,
    depth: u64,
    in_text: bool,
    escaped: bool,
}

impl Shape {
    /// Where in `bytes` the value is over, if it is.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.scalar {
            return bytes.iter().position(|b| b" \t\r\n,:]}[{\"".contains(b));
        }
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => continue,
                }
            } else {
                match byte {
                    b'"' => self.in_text = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth -= 1,
                    _ => continue,
                }
            }
            if self.depth == 0 && !self.in_text {
                return Some(at + 1);
            }
        }
        None
    }
}
