//! The GGUF file format: metadata and tensors of a model in one file, versions 2 and 3, little
//! endian (`docs/gguf.md` of ggml).
//!
//! A file is opened by reading its header alone, and every size in it is compared with the length
//! of the file before anything is allocated or believed, so that a file that was cut short or made
//! in bad faith fails at once and says where. What its strings claim is checked as well: they must
//! be UTF-8, as the format demands. To repair them would make different tokens equal, silently.

mod error;
mod file;
mod metadata;
mod parse;
mod source;
mod ty;
mod value;
mod writer;

pub use error::Error;
pub use file::{Gguf, TensorInfo};
pub use metadata::{FromValue, Metadata};
pub use ty::Type;
pub use value::{Array, Strings, Value};
pub use writer::{TensorWriter, Writer};
