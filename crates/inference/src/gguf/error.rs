use std::io;
use std::path::PathBuf;

/// Why a file cannot be used as a model, or why a part of it cannot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read at byte {offset}: {source}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// It is another kind of file.
    #[error("not a GGUF file: {0}")]
    NotGguf(String),
    /// It is GGUF, of a kind that is not read here.
    #[error("{0}")]
    Unsupported(String),
    /// The file is shorter than its own header says.
    #[error(
        "the file is cut short or damaged: {needed} bytes should be at byte {offset} ({what}), \
         but it has {len} in all; fetch or copy it again"
    )]
    Truncated {
        /// What is incomplete.
        what: String,
        /// Where it begins.
        offset: u64,
        /// Its size in bytes.
        needed: u64,
        /// Bytes of the file.
        len: u64,
    },
    /// The header contradicts itself or the format.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// An entry of the tensor table cannot be.
    #[error("tensor {}: {what}", quoted(name))]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The metadata lack a key that the model cannot do without.
    #[error("the metadata lack {}", quoted(key))]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of the metadata has another type than it must.
    #[error("metadata {} is {found}, expected {expected}", quoted(key))]
    WrongType {
        /// The key.
        key: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// A key or name from the file in quotes, cut where it is too long to be shown.
pub(super) fn quoted(name: &str) -> String {
    const SHOWN: usize = 80;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}..", &name[..end]),
        None => format!("{name:?}"),
    }
}
