//! What the rules look at: the packages that cargo knows, and the files of the checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dialtone_harness::failure::Failure;
use serde::Deserialize;

/// Folders that hold nothing of ours.
const FOREIGN: &[&str] = &["target", "node_modules", "__pycache__", ".git", ".venv"];

/// Endings of the files that the rules read.
const TEXT: &[&str] =
    &["rs", "toml", "md", "sh", "yml", "yaml", "sql", "json", "js", "mjs", "py", "html", "svg"];

/// The workspace.
pub struct Workspace {
    /// Its packages.
    pub packages: Vec<Package>,
    /// Its text files.
    pub files: Vec<File>,
    root: PathBuf,
}

/// A file of the checkout.
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A package, as `cargo metadata` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub manifest_path: PathBuf,
    /// What it asks for.
    pub dependencies: Vec<Dependency>,
    /// What it builds.
    pub targets: Vec<Target>,
}

/// A dependency.
#[derive(Clone, Debug, Deserialize)]
pub struct Dependency {
    /// The package asked for.
    pub name: String,
    /// `None` for a normal one, else `dev` or `build`.
    pub kind: Option<String>,
    /// Where it lies, if it is one of ours.
    pub path: Option<PathBuf>,
}

/// A target.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Its root file.
    pub src_path: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

impl Workspace {
    /// Reads it.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        let arguments = ["metadata", "--format-version", "1", "--no-deps"];
        let output = cargo(root, &arguments)?;
        let metadata: Metadata = serde_json::from_slice(&output.stdout).map_err(|error| {
            Failure::environment(format!("cargo metadata cannot be read: {error}"))
        })?;
        let mut files = Vec::new();
        collect(root, root, &mut files);
        files.sort_by(|a: &File, b| a.path.cmp(&b.path));
        Ok(Self { packages: metadata.packages, files, root: root.to_owned() })
    }

    /// A path from the root, with `/`.
    pub fn relative(&self, path: &Path) -> String {
        relative(&self.root, path)
    }

    /// Runs cargo in the workspace.
    pub fn cargo(&self, arguments: &[&str]) -> Result<Output, Failure> {
        cargo(&self.root, arguments)
    }

    /// The Rust sources.
    pub fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The manifest of a package.
    pub fn manifest(&self, package: &Package) -> Option<&File> {
        let path = self.relative(&package.manifest_path);
        self.files.iter().find(|file| file.path == path)
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<Output, Failure> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = format!("cargo {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| Failure::environment(format!("`{said}` cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::environment(format!("`{said}` failed")).evidence(talk.lines()))
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.to_string_lossy().replace('\\', "/")
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !FOREIGN.iter().any(|foreign| name.to_str() == Some(foreign)) {
                collect(root, &path, files);
            }
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_str().unwrap_or_default());
        if kind.is_file()
            && ending.is_none_or(|ending| TEXT.contains(&ending))
            && let Ok(text) = fs::read_to_string(&path)
            // Without an ending it is a script, such as `.ci/run`, or none of ours.
            && (ending.is_some() || text.starts_with("#!"))
        {
            files.push(File { path: relative(root, &path), text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_pictures_are_read_too() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join(".ci")).expect("writable");
        for (path, text) in [
            (".ci/run", "#!/bin/sh"),
            (".ci/notes", "no script"),
            ("a.svg", "<svg/>"),
            ("b.mjs", ""),
            ("c.png", ""),
        ] {
            fs::write(root.path().join(path), text).expect("writable");
        }
        let mut files = Vec::new();
        collect(root.path(), root.path(), &mut files);
        let mut paths: Vec<_> = files.into_iter().map(|file| file.path).collect();
        paths.sort_unstable();
        assert_eq!(paths, [".ci/run", "a.svg", "b.mjs"]);
    }
}
