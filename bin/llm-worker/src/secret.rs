use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use dialtone_contract::ErrorCode;
use dialtone_llm_api::ApiKey;

use crate::failure::Failure;

/// Environment variable with the key. Command lines are no place for it: everybody on the
/// machine sees them.
const KEY_ENV: &str = "LLM_WORKER_API_KEY";

/// Bytes of the file at most.
const KEY_FILE_BYTES: u64 = 4096;

/// The key that callers must send, from the file or else from the environment.
pub fn api_key(file: Option<&Path>) -> Result<Option<ApiKey>, Failure> {
    let refuse = |place: &str, why: &dyn std::fmt::Display| {
        Failure::new(ErrorCode::Environment, format!("{place}: {why}"))
    };
    if let Some(path) = file {
        let place = path.display().to_string();
        let text = read(path).map_err(|error| refuse(&place, &error))?;
        return ApiKey::new(&text).map(Some).map_err(|error| refuse(&place, &error));
    }
    match std::env::var(KEY_ENV) {
        Ok(text) => ApiKey::new(&text).map(Some).map_err(|error| refuse(KEY_ENV, &error)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(refuse(KEY_ENV, &error)),
    }
}

/// The text of a file of a few bytes. What is no file may have no end.
fn read(path: &Path) -> io::Result<String> {
    // Looked at before it is opened: to open a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(KEY_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > KEY_FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {KEY_FILE_BYTES} bytes")));
    }
    Ok(text)
}
