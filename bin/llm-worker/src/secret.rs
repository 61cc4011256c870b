use std::path::Path;

use dialtone_contract::ErrorCode;
use dialtone_llm_api::ApiKey;

use crate::failure::Failure;

/// Environment variable with the key. Command lines are no place for it: everybody on the
/// machine sees them.
const KEY_ENV: &str = "LLM_WORKER_API_KEY";

/// The key that callers must send, from the file or else from the environment.
pub fn api_key(file: Option<&Path>) -> Result<Option<ApiKey>, Failure> {
    let refuse = |place: &str, why: &dyn std::fmt::Display| {
        Failure::new(ErrorCode::Environment, format!("{place}: {why}"))
    };
    if let Some(path) = file {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| refuse(&place, &error))?;
        return ApiKey::new(&text).map(Some).map_err(|error| refuse(&place, &error));
    }
    match std::env::var(KEY_ENV) {
        Ok(text) => ApiKey::new(&text).map(Some).map_err(|error| refuse(KEY_ENV, &error)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(refuse(KEY_ENV, &error)),
    }
}
