use std::io;

use dialtone_contract::ErrorCode;

use super::Source;
use crate::{gguf, model, tokenizer};

/// Why a model cannot be had. Each text names the model and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("there is no model file {0}")]
    NotFound(String),
    /// The file is no model, or damaged, cut short, or contradicts itself.
    #[error("model {model}: {why}")]
    Invalid {
        /// Which model.
        model: String,
        /// What is wrong.
        why: String,
    },
    /// A model of a kind that this engine does not run.
    #[error("model {model}: {why}")]
    Unsupported {
        /// Which model.
        model: String,
        /// What is not run.
        why: String,
    },
    /// The machine does not give what the model needs.
    #[error("model {model}: {why}")]
    Environment {
        /// Which model.
        model: String,
        /// What is lacking.
        why: String,
    },
}

impl LoadError {
    /// The stable code, for exit codes and documents.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) => ErrorCode::ModelNotFound,
            Self::Invalid { .. } => ErrorCode::ModelInvalid,
            Self::Unsupported { .. } => ErrorCode::ModelUnsupported,
            Self::Environment { .. } => ErrorCode::Environment,
        }
    }

    pub(super) fn invalid(source: &Source, error: &dyn std::error::Error) -> Self {
        Self::Invalid { model: source.to_string(), why: error.to_string() }
    }

    pub(super) fn of_file(source: &Source, error: gguf::Error) -> Self {
        let model = source.to_string();
        let why = error.to_string();
        match error {
            gguf::Error::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound(model),
                // Another kind of thing than a file.
                io::ErrorKind::InvalidInput => Self::Invalid { model, why },
                _ => Self::Environment { model, why },
            },
            gguf::Error::Read { .. } => Self::Environment { model, why },
            gguf::Error::Unsupported(_) => Self::Unsupported { model, why },
            _ => Self::Invalid { model, why },
        }
    }

    pub(super) fn of_model(source: &Source, error: model::Error) -> Self {
        let model = source.to_string();
        let why = error.to_string();
        match error {
            model::Error::File(error) => Self::of_file(source, error),
            model::Error::Invalid(_) => Self::Invalid { model, why },
            model::Error::Unsupported(_) => Self::Unsupported { model, why },
            model::Error::Memory { .. } | model::Error::Environment(_) => {
                Self::Environment { model, why }
            }
        }
    }

    pub(super) fn of_tokenizer(source: &Source, error: tokenizer::Error) -> Self {
        match error {
            tokenizer::Error::Gguf(error) => Self::of_file(source, error),
            tokenizer::Error::UnknownModel(_) => {
                let what = "an llm-worker built with `--features llama-cpp` may run it";
                Self::Unsupported { model: source.to_string(), why: format!("{error}; {what}") }
            }
            other => Self::invalid(source, &other),
        }
    }
}
