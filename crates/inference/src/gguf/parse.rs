use super::error::quoted;
use super::source::Source;
use super::{Array, Error, Strings, Value};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Arrays within arrays that are followed. None are in use; the rest is a bad joke.
const NESTING_MAX: usize = 4;
/// Where a header must end. The largest in use have some ten megabytes; a file with holes is of
/// any length without taking room on the disk, but what it claims would take memory.
const HEADER_MAX: u64 = 1 << 30;
/// The bytes of the shortest string: its length.
const STRING_MIN: u64 = 8;
/// The bytes of the shortest array: type and length.
const ARRAY_MIN: u64 = 12;

/// Reads a header from its beginning to its end.
pub(super) struct Parser<'a> {
    source: &'a Source,
    // What is read but not taken: `buffer[taken..]`, which begins at byte `at` of the file.
    buffer: Vec<u8>,
    taken: usize,
    at: u64,
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, buffer: Vec::new(), taken: 0, at: 0 }
    }

    /// The place of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The bytes from here to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.source.len().saturating_sub(self.at)
    }

    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::Damaged { offset, what: what.into() }
    }

    /// Checks that the file could hold `count` of what takes `least` bytes each: `count` strings
    /// (`unit`) in `what`.
    pub(super) fn fits(
        &self,
        count: u64,
        least: u64,
        unit: &str,
        what: &str,
    ) -> Result<usize, Error> {
        let needed = count.checked_mul(least).filter(|&needed| needed <= self.left());
        if needed.is_some_and(|needed| self.at.saturating_add(needed) > HEADER_MAX) {
            let what = format!("{count} {what} reach past {HEADER_MAX} bytes of header");
            return Err(self.damaged(self.at, what));
        }
        needed.and_then(|_| usize::try_from(count).ok()).ok_or_else(|| Error::Truncated {
            what: format!("{count} {unit}{what}"),
            offset: self.at,
            needed: count.saturating_mul(least),
            len: self.source.len(),
        })
    }

    /// Fills `out` with the next bytes.
    fn take(&mut self, out: &mut [u8], what: &str) -> Result<(), Error> {
        if out.len() as u64 > self.left() {
            return Err(Error::Truncated {
                what: what.to_owned(),
                offset: self.at,
                needed: out.len() as u64,
                len: self.source.len(),
            });
        }
        let mut done = 0;
        while done < out.len() {
            if self.taken == self.buffer.len() {
                let size = usize::try_from(self.left()).map_or(CHUNK, |left| left.min(CHUNK));
                self.buffer.resize(size, 0);
                self.taken = 0;
                self.source.read(self.at, &mut self.buffer, what)?;
            }
            let part = (out.len() - done).min(self.buffer.len() - self.taken);
            out[done..done + part].copy_from_slice(&self.buffer[self.taken..self.taken + part]);
            done += part;
            self.taken += part;
            self.at += part as u64;
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        if let Some(next) = self.buffer.get(self.taken..self.taken + N) {
            bytes.copy_from_slice(next);
            self.taken += N;
            self.at += N as u64;
            return Ok(bytes);
        }
        self.take(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A string of at most `max` bytes, appended to `text`.
    fn string_into(&mut self, max: u64, text: &mut Vec<u8>, what: &str) -> Result<(), Error> {
        let start = self.at;
        let len = self.u64(what)?;
        if len > max {
            return Err(self.damaged(start, format!("{what} of {len} bytes; at most {max} may be")));
        }
        let len = self.fits(len, 1, "bytes of ", what)?;
        let before = text.len();
        text.resize(before + len, 0);
        self.take(&mut text[before..], what)?;
        if std::str::from_utf8(&text[before..]).is_err() {
            return Err(self.damaged(start, format!("{what} is not UTF-8")));
        }
        Ok(())
    }

    /// A string of at most `max` bytes.
    pub(super) fn string(&mut self, max: u64, what: &str) -> Result<Box<str>, Error> {
        let start = self.at;
        let mut text = Vec::new();
        self.string_into(max, &mut text, what)?;
        String::from_utf8(text)
            .map(String::into_boxed_str)
            .map_err(|_| self.damaged(start, format!("{what} is not UTF-8")))
    }

    /// A value with its type before it.
    pub(super) fn value(&mut self, key: &str) -> Result<Value, Error> {
        let start = self.at;
        let what = format!("the value of {}", quoted(key));
        Ok(match self.u32(&what)? {
            0 => Value::U8(u8::from_le_bytes(self.bytes(&what)?)),
            1 => Value::I8(i8::from_le_bytes(self.bytes(&what)?)),
            2 => Value::U16(u16::from_le_bytes(self.bytes(&what)?)),
            3 => Value::I16(i16::from_le_bytes(self.bytes(&what)?)),
            4 => Value::U32(u32::from_le_bytes(self.bytes(&what)?)),
            5 => Value::I32(i32::from_le_bytes(self.bytes(&what)?)),
            6 => Value::F32(f32::from_le_bytes(self.bytes(&what)?)),
            7 => {
                let at = self.at;
                let [byte] = self.bytes(&what)?;
                Value::Bool(self.bool(byte, at, &what)?)
            }
            8 => Value::String(self.string(u64::MAX, &what)?),
            9 => Value::Array(self.array(0, &what)?),
            10 => Value::U64(u64::from_le_bytes(self.bytes(&what)?)),
            11 => Value::I64(i64::from_le_bytes(self.bytes(&what)?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes(&what)?)),
            id => return Err(self.damaged(start, format!("{what} has the unknown type {id}"))),
        })
    }

    fn bool(&self, byte: u8, offset: u64, what: &str) -> Result<bool, Error> {
        match byte {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(self.damaged(offset, format!("{what} is the truth value {byte}"))),
        }
    }

    fn array(&mut self, depth: usize, what: &str) -> Result<Array, Error> {
        let start = self.at;
        let id = self.u32(what)?;
        let count = self.u64(what)?;
        Ok(match id {
            0 => Array::U8(self.numbers(count, what, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(count, what, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(count, what, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(count, what, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(count, what, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(count, what, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(count, what, f32::from_le_bytes)?),
            7 => {
                let at = self.at;
                let bytes = self.numbers(count, what, u8::from_le_bytes)?;
                let bools = bytes.into_iter().zip(at..);
                Array::Bool(
                    bools.map(|(byte, at)| self.bool(byte, at, what)).collect::<Result<_, _>>()?,
                )
            }
            8 => Array::Strings(self.strings(count, what)?),
            9 if depth == NESTING_MAX => {
                return Err(self.damaged(start, format!("{what} nests arrays too deeply")));
            }
            9 => {
                let count = self.fits(count, ARRAY_MIN, "arrays in ", what)?;
                for _ in 0..count {
                    self.array(depth + 1, what)?;
                }
                Array::Arrays(count)
            }
            10 => Array::U64(self.numbers(count, what, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(count, what, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(count, what, f64::from_le_bytes)?),
            id => {
                let what = format!("{what} is an array of the unknown type {id}");
                return Err(self.damaged(start, what));
            }
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        what: &str,
        from: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        let count = self.fits(count, N as u64, "values in ", what)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(from(self.bytes(what)?));
        }
        Ok(values)
    }

    fn strings(&mut self, count: u64, what: &str) -> Result<Strings, Error> {
        let start = self.at;
        let count = self.fits(count, STRING_MIN, "strings in ", what)?;
        let mut ends = Vec::with_capacity(count);
        let mut text = Vec::new();
        for _ in 0..count {
            self.string_into(u64::MAX, &mut text, what)?;
            ends.push(text.len());
        }
        let text = String::from_utf8(text)
            .map_err(|_| self.damaged(start, format!("{what} is not UTF-8")))?;
        Ok(Strings::new(text, ends))
    }
}
