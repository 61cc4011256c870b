//! Writes a model of 1B shape with random weights, in the mix of formats of `Q4_K_M` files: for
//! measurements where weights come from memory, not from a cache.
//!
//! ```text
//! cargo run --release -p dialtone-inference --example synthetic -- FILE
//! ```

use std::path::PathBuf;

use dialtone_inference::synthetic::{Synthetic, Types};

fn main() -> std::io::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let file = file.ok_or_else(|| std::io::Error::other("usage: synthetic FILE"))?;
    Synthetic::billion(Types::q4_k_m(), 7).to_file(&file)
}
