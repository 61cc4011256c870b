use std::ops::ControlFlow;

use dialtone_contract::{FieldError, limits};
use tokio::sync::mpsc::Sender;

use super::{GoodRow, RowChecks, RowRules, Upload, UploadError};

/// Rows of an upload that are written in one commit.
#[derive(Default)]
pub struct Chunk {
    /// Rows that become entries.
    pub good: Vec<GoodRow>,
    /// Rows that do not.
    pub bad: Vec<FieldError>,
    /// Text of the rows' variables, in bytes.
    bytes: usize,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.good.len() + self.bad.len() >= limits::LOAD_CHUNK
            || self.bytes >= limits::LOAD_CHUNK_BYTES
    }
}

/// Reads an upload and hands its rows over, as fast as they are taken. Ends early when
/// nobody takes them any more. Blocks.
///
/// # Errors
/// If the upload as a whole cannot be read.
pub fn send_chunks(
    upload: &mut dyn Upload,
    rules: RowRules,
    to: &Sender<Chunk>,
) -> Result<(), UploadError> {
    let mut checks = RowChecks::new(rules);
    let mut chunk = Chunk::default();
    upload.rows(&mut |row| {
        match row.entry.and_then(|entry| checks.check(row.number, entry)) {
            Ok(row) => {
                chunk.bytes += row.variables.as_ref().map_or(0, String::len);
                chunk.good.push(row);
            }
            Err(error) => chunk.bad.push(error),
        }
        if chunk.is_full() && to.blocking_send(std::mem::take(&mut chunk)).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if !(chunk.good.is_empty() && chunk.bad.is_empty()) {
        // Nobody to take the rest is nobody to miss it.
        let _ = to.blocking_send(chunk);
    }
    Ok(())
}
