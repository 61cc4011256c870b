//! Between rows and values, and between SQLite's errors and the ports'.

use std::str::FromStr;

use dialtone_clock::Timestamp;
use dialtone_contract::BatchState;
use dialtone_store::StoreError;
use rusqlite::types::{FromSql, Type};
use rusqlite::{ErrorCode, Row};

/// Why an operation failed; it is rolled back alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// What the rows say cannot be.
    #[error("{0}")]
    Impossible(String),
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => store_error(&error),
            Fault::Json(error) => Self::Corrupt(error.to_string()),
            Fault::Impossible(text) => Self::Corrupt(text),
        }
    }
}

/// The ports' word for an error of an operation that was rolled back.
pub(crate) fn store_error(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(text),
        // Without a code of SQLite's it is a conversion: the row holds something else.
        Some(
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation,
        )
        | None => StoreError::Corrupt(text),
        Some(_) => StoreError::Unavailable(text),
    }
}

/// Reads a row's columns one after the other.
pub(crate) struct Columns<'row> {
    row: &'row Row<'row>,
    next: usize,
}

impl<'row> Columns<'row> {
    pub(crate) fn of(row: &'row Row<'row>) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let column = self.next;
        self.next += 1;
        self.row.get(column)
    }

    /// A name of the contract.
    pub(crate) fn name<T>(&mut self) -> rusqlite::Result<T>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        let column = self.next;
        self.next += 1;
        parse(column, self.row.get_ref(column)?.as_str()?)
    }

    /// A name of the contract, or nothing.
    pub(crate) fn maybe_name<T>(&mut self) -> rusqlite::Result<Option<T>>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        let column = self.next;
        self.next += 1;
        self.row.get_ref(column)?.as_str_or_null()?.map(|text| parse(column, text)).transpose()
    }

    pub(crate) fn at(&mut self) -> rusqlite::Result<Timestamp> {
        self.take().map(Timestamp::from_micros)
    }

    pub(crate) fn maybe_at(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    pub(crate) fn u64(&mut self) -> rusqlite::Result<u64> {
        let column = self.next;
        let value: i64 = self.take()?;
        u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
    }

    pub(crate) fn maybe_u64(&mut self) -> rusqlite::Result<Option<u64>> {
        let column = self.next;
        let value: Option<i64> = self.take()?;
        value
            .map(|v| {
                u64::try_from(v).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, v))
            })
            .transpose()
    }

    /// Anything that is made from text.
    pub(crate) fn text<T, E>(
        &mut self,
        read: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> rusqlite::Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let column = self.next;
        self.next += 1;
        read(self.row.get_ref(column)?.as_str()?).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
        })
    }
}

fn parse<T>(column: usize, text: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// A number as SQLite keeps it: 63 bits. What does not fit would compare wrongly, so it
/// is refused.
pub(crate) fn int(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Fault::Impossible(format!("{value} does not fit a column")))
}

pub(crate) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// A set of states as one parameter, for `instr(?, ..)`: no state's name is part of another's.
pub(crate) fn states(states: &[BatchState]) -> String {
    states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" ")
}

/// A set of states as one parameter, for `IN (SELECT value FROM json_each(?))`.
pub(crate) fn state_list(states: &[BatchState]) -> Result<String> {
    Ok(serde_json::to_string(states)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_in_a_list_only_if_it_is_in_it() {
        for one in BatchState::ALL {
            for other in BatchState::ALL {
                assert_eq!(states(&[*one]).contains(other.as_str()), one == other);
            }
        }
    }
}
