use crate::gguf;

/// Why a file's model cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    File(#[from] gguf::Error),
    /// What the file says of the model cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A model that may be right, of a kind that this engine does not run.
    #[error("{0}; an llm-worker built with `--features llama-cpp` may run it")]
    Unsupported(String),
    /// The machine has too little memory.
    #[error("the model needs {wanted_mb} MB of memory, of them {kv_mb} MB for past tokens; {why}")]
    Memory {
        /// Memory in all, in MB.
        wanted_mb: u64,
        /// Of it, for past tokens.
        kv_mb: u64,
        /// What there is, and what to do.
        why: String,
    },
    /// The machine cannot do what was asked for.
    #[error("{0}")]
    Environment(String),
}
