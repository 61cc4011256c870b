use std::ops::ControlFlow;

use dialtone_contract::wire::LiveBatchHead;
use dialtone_contract::{FieldError, limits};
use sha2::{Digest as _, Sha256};

use super::{RowChecks, RowRules, Upload, UploadError};

/// What stands in an upload, before anything of it is kept.
#[derive(Debug)]
pub struct Survey {
    /// Hash of what is asked for: of the head and of each row, so that spaces and the
    /// order of fields make no other request.
    pub hash: String,
    /// Rows that may be called.
    pub good: u32,
    /// Rows that may not.
    pub bad: u32,
    /// What is wrong with the first of them.
    pub first_bad: Vec<FieldError>,
}

impl Survey {
    /// Reads an upload through and checks every row of it.
    ///
    /// # Errors
    /// If the upload as a whole cannot be read.
    pub fn of(
        upload: &mut dyn Upload,
        head: &LiveBatchHead,
        rules: RowRules,
    ) -> Result<Self, UploadError> {
        let mut checks = RowChecks::new(rules);
        let mut hash = Sha256::new();
        // Each part ends with a byte that is in no JSON and no UTF-8.
        let end = [0xff];
        let mut text = serde_json::to_vec(head).expect("plain data");
        hash.update(&text);
        hash.update(end);
        let (mut good, mut bad, mut first_bad) = (0, 0, Vec::new());
        upload.rows(&mut |row| {
            if let Ok(entry) = &row.entry {
                text.clear();
                serde_json::to_writer(&mut text, entry).expect("plain data");
                hash.update(&text);
            } else {
                // Bytes that are no entry have no other form than their own.
                hash.update(row.raw);
            }
            match row.entry.and_then(|entry| checks.check(row.number, entry)) {
                Ok(_) => good += 1,
                Err(error) => {
                    bad += 1;
                    if first_bad.len() < limits::REJECTS_SHOWN {
                        first_bad.push(error);
                    }
                }
            }
            hash.update(end);
            ControlFlow::Continue(())
        })?;
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { hash, good, bad, first_bad })
    }
}
