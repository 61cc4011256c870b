use axum::http::Uri;
use dialtone_contract::Problem;
use dialtone_contract::wire::{BatchOptions, LiveBatchHead, RejectsMode};
use dialtone_serve::problem::{Query, read_json};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Failure;

/// The query of a JSON upload, which says all in its body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

/// The query of a table: what a JSON upload says beside its entries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableQuery {
    voice_id: String,
    initiated_by: i64,
    agent_id: Option<i64>,
    from_number: Option<String>,
    options: Option<String>,
    #[serde(default)]
    rejects: RejectsMode,
    #[serde(default)]
    map: String,
}

/// The query of `uri` as a `T`.
pub fn of<T: DeserializeOwned>(uri: &Uri) -> Result<T, Failure> {
    let read = Query::<T>::of(uri).map_err(|problem| Failure::from(*problem))?;
    Ok(read.0)
}

impl TableQuery {
    /// The head of the batch, and the mapping of columns.
    pub fn head(self) -> Result<(LiveBatchHead, String), Failure> {
        let options = match self.options {
            None => BatchOptions::default(),
            Some(text) => read_json(text.as_bytes()).map_err(|problem| at_options(*problem))?,
        };
        let head = LiveBatchHead {
            voice_id: self.voice_id,
            initiated_by: self.initiated_by,
            agent_id: self.agent_id,
            from_number: self.from_number,
            options,
            rejects: self.rejects,
        };
        Ok((head, self.map))
    }
}

/// A problem with the options, which are a JSON document inside the query.
fn at_options(problem: Problem) -> Failure {
    let at = |pointer: &str| format!("/query/options{pointer}");
    let errors = match problem.errors.is_empty() {
        true => vec![dialtone_contract::FieldError::new(at(""), "not_json", problem.detail)],
        false => {
            let mut errors = problem.errors;
            errors.iter_mut().for_each(|error| error.pointer = at(&error.pointer));
            errors
        }
    };
    Problem::invalid(errors).into()
}
