//! The memory of past tokens (the KV cache), in pages that sequences share.

mod ledger;
mod store;

pub use ledger::{Ledger, Opened, PAGE, PageId};
pub use store::{LANES, Store, padded, page_bytes};
