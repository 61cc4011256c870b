//! Where the workspace is, and where runs are kept.

use std::path::{Path, PathBuf};

/// The workspace's root: above the manifest that cargo names, else above the working directory.
pub fn root() -> Option<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = std::env::current_dir().ok();
    manifest.into_iter().chain(here).find_map(|start| above(&start))
}

fn above(start: &Path) -> Option<PathBuf> {
    let is_root = |dir: &&Path| dir.join("Cargo.lock").is_file() && dir.join("xtask").is_dir();
    start.ancestors().find(is_root).map(Path::to_owned)
}

/// The folder under which runs are kept: `target/xtask`, with cargo's own idea of `target`.
pub fn base() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    let target = target.map(PathBuf::from).unwrap_or_else(|| {
        root().or_else(|| std::env::current_dir().ok()).unwrap_or_default().join("target")
    });
    std::path::absolute(&target).unwrap_or(target).join("xtask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_this_package() {
        let root = root().expect("run by cargo");
        assert!(root.join("xtask/src/place.rs").is_file());
    }
}
