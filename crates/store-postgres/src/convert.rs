//! Between rows and values.

use std::borrow::Cow;
use std::str::FromStr;

use dialtone_clock::Timestamp;
use dialtone_contract::{BatchState, EntryState};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::fault::{Fault, Result};

/// Reads a row's columns one after the other.
pub(crate) struct Columns<'row> {
    row: &'row Row,
    next: usize,
}

impl<'row> Columns<'row> {
    pub(crate) fn of(row: &'row Row) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn take<T: FromSql<'row>>(&mut self) -> Result<T> {
        let column = self.next;
        self.next += 1;
        self.row.try_get(column).map_err(|error| Fault::Row(error.to_string()))
    }

    /// A name of the contract.
    pub(crate) fn name<T: FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T> {
        let text: &str = self.take()?;
        parse(text)
    }

    /// A name of the contract, or nothing.
    pub(crate) fn maybe_name<T: FromStr<Err: std::fmt::Display>>(&mut self) -> Result<Option<T>> {
        let text: Option<&str> = self.take()?;
        text.map(parse).transpose()
    }

    pub(crate) fn at(&mut self) -> Result<Timestamp> {
        self.take().map(Timestamp::from_micros)
    }

    pub(crate) fn maybe_at(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        fits(self.take()?)
    }

    pub(crate) fn maybe_u32(&mut self) -> Result<Option<u32>> {
        self.take::<Option<i64>>()?.map(fits).transpose()
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        fits(self.take()?)
    }

    pub(crate) fn maybe_u64(&mut self) -> Result<Option<u64>> {
        self.take::<Option<i64>>()?.map(fits).transpose()
    }

    /// Anything that is made from text.
    pub(crate) fn text<T, E: std::fmt::Display>(
        &mut self,
        read: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<T> {
        let text: &str = self.take()?;
        read(text).map_err(|error| Fault::Row(error.to_string()))
    }

    /// Bytes of a known length.
    pub(crate) fn bytes<const LEN: usize>(&mut self) -> Result<[u8; LEN]> {
        let bytes: &[u8] = self.take()?;
        bytes.try_into().map_err(|_| Fault::Row(format!("{} bytes instead of {LEN}", bytes.len())))
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| Fault::Row(error.to_string()))
}

fn fits<T: TryFrom<i64>>(value: i64) -> Result<T> {
    T::try_from(value).map_err(|_| Fault::Row(format!("{value} is out of range")))
}

/// A number as a column keeps it: 63 bits. What does not fit would compare wrongly, so it
/// is refused.
pub(crate) fn int(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Fault::Impossible(format!("{value} does not fit a column")))
}

/// A number that [`int`] has taken before, or a bound: what no column holds is behind all
/// that columns hold.
pub(crate) fn checked(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The number of something that memory holds.
pub(crate) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// What is looked up. PostgreSQL keeps no NUL in a text, so a name with one in it is the
/// name of nothing.
pub(crate) fn name(text: &str) -> &str {
    if text.contains('\0') { "\u{fffd}" } else { text }
}

/// What people wrote, as a column can keep it: without NUL.
pub(crate) fn prose(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`prose`], for what may be missing.
pub(crate) fn maybe_prose(text: Option<&String>) -> Option<Cow<'_, str>> {
    text.map(|text| prose(text))
}

/// A set of states as one parameter, for `= ANY (..)`.
pub(crate) fn state_list(states: &[BatchState]) -> Vec<&'static str> {
    states.iter().map(|state| state.as_str()).collect()
}

/// A set of states as one text, for a row of many: no state's name has a space in it.
pub(crate) fn states(states: &[BatchState]) -> String {
    state_list(states).join(" ")
}

/// The states in which an attempt is under way.
pub(crate) fn in_flight() -> Vec<&'static str> {
    let in_flight = EntryState::ALL.iter().filter(|state| state.is_in_flight());
    in_flight.map(|state| state.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_column_keeps_names_nothing() {
        assert_eq!(name("bat_1"), "bat_1");
        assert_eq!(name("bat_\0"), "\u{fffd}");
        assert_eq!(prose("a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn no_states_name_has_a_space_in_it() {
        assert!(BatchState::ALL.iter().all(|state| !state.as_str().contains(' ')));
    }
}
