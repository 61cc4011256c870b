//! Uploaded lists of entries, read row by row: JSON and tables (CSV) of any size in the
//! memory of one row. Readers say what stands in a row, [`RowChecks`] whether it may
//! be called.

mod check;
mod chunks;
mod columns;
mod csv;
mod json;
mod scan;
mod survey;

use std::io;
use std::ops::ControlFlow;

use dialtone_contract::FieldError;
use dialtone_contract::wire::LiveEntry;

pub use check::{GoodRow, RowChecks, RowRules};
pub use chunks::{Chunk, send_chunks};
pub use csv::Table;
pub use json::JsonList;
pub use survey::Survey;

/// One row of an upload.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its place, from 1; the head of a table and empty rows do not count.
    pub number: u32,
    /// What it asks for, or why that cannot be read.
    pub entry: Result<LiveEntry, FieldError>,
    /// Its bytes as they were sent, cut where they are too many.
    pub raw: &'a [u8],
}

/// Why an upload as a whole cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The body is not JSON.
    #[error("{0}")]
    NotJson(String),
    /// The body does not have the right shape.
    #[error("{}: {}", .0.pointer, .0.detail)]
    Invalid(FieldError),
    /// Where the upload is kept cannot be read.
    #[error("the upload cannot be read back: {0}")]
    Io(#[from] io::Error),
}

/// What is called with each row; breaking ends the reading early.
pub type Visit<'v> = dyn FnMut(Row<'_>) -> ControlFlow<()> + 'v;

/// A list of entries that can be read any number of times, each time the same.
pub trait Upload: Send {
    /// Reads all rows in order.
    ///
    /// # Errors
    /// If the upload as a whole cannot be read. Rows may have been visited before.
    fn rows(&mut self, visit: &mut Visit<'_>) -> Result<(), UploadError>;
}

/// The pointer to a field of a row, as if the upload were JSON.
pub(crate) fn pointer(row: u32, field: &str) -> String {
    let index = row.saturating_sub(1);
    if field.is_empty() { format!("/entries/{index}") } else { format!("/entries/{index}/{field}") }
}

/// What is wrong with a row.
pub(crate) fn row_error(
    row: u32,
    field: &str,
    code: &str,
    detail: impl Into<String>,
) -> FieldError {
    FieldError { row: Some(row), ..FieldError::new(pointer(row, field), code, detail) }
}
