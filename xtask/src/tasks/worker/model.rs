//! Which model a run uses: a file, a name that is known, or the built-in one.

use std::path::{Path, PathBuf};

use dialtone_contract::ErrorCode;
use dialtone_harness::failure::Failure;
use dialtone_harness::flow::worker::Model;

use crate::place;

/// Where fetched models are, below the workspace.
const FOLDER: &str = ".test-models";

/// Models that can be fetched, and their files.
const KNOWN: &[(&str, &str)] = &[("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")];

/// Names that are offered instead of one that is not there.
const OFFERED: usize = 5;

/// The model of the flag.
pub fn find(flag: Option<&str>) -> Result<Model, Failure> {
    let root = place::root().or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    match flag {
        None => Ok(Model::BuiltIn),
        Some(flag) => named(flag, &root.join(FOLDER)).map(Model::File),
    }
}

fn named(flag: &str, fetched: &Path) -> Result<PathBuf, Failure> {
    let path = Path::new(flag);
    if path.is_dir() {
        let message = format!("the model {flag} is a folder, not a GGUF file");
        let files = models_in(path).into_iter().map(|name| format!("it has {name}"));
        return Err(Failure::new(ErrorCode::ModelInvalid, message)
            .evidence(files.take(OFFERED))
            .hint("give --model one of its files, or drop it to use the built-in model"));
    }
    if path.exists() {
        return Ok(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    }
    if let Some((name, file)) = KNOWN.iter().find(|(name, _)| *name == flag) {
        let path = fetched.join(file);
        if path.is_file() {
            return Ok(path);
        }
        let message = format!("the model {name} is not fetched: there is no {}", path.display());
        return Err(Failure::new(ErrorCode::ModelNotFound, message)
            .hint(format!("cargo xtask model:fetch {name}")));
    }
    Err(missing(flag, path, fetched))
}

fn missing(flag: &str, path: &Path, fetched: &Path) -> Failure {
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let wanted = wanted.unwrap_or_default().to_lowercase();
    let beside = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut offers: Vec<(usize, String)> = KNOWN
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(in_folder(beside))
        .chain(in_folder(fetched))
        .filter_map(|offer| {
            let name = Path::new(&offer).file_name()?.to_string_lossy().to_lowercase();
            let distance = distance(&wanted, &name);
            // A third of the letters may be wrong: more is another name.
            (distance <= wanted.chars().count().div_ceil(3)).then_some((distance, offer))
        })
        .collect();
    offers.sort();
    offers.dedup();
    let offers = offers.into_iter().take(OFFERED).map(|(_, offer)| format!("near: {offer}"));
    Failure::new(ErrorCode::ModelNotFound, format!("there is no model {flag}")).evidence(offers)
}

fn in_folder(dir: &Path) -> impl Iterator<Item = String> {
    let shown = if dir == Path::new(".") { PathBuf::new() } else { dir.to_owned() };
    models_in(dir).into_iter().map(move |name| shown.join(name).display().to_string())
}

/// The GGUF files of a folder.
fn models_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.to_lowercase().ends_with(".gguf")).collect();
    names.sort_unstable();
    names
}

/// Letters to add, drop or change to make one word the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, one) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = corner + usize::from(one != *other);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_a_known_name_or_an_offer() {
        let base = tempfile::tempdir().expect("a folder");
        let fetched = base.path().join("models");
        std::fs::create_dir(&fetched).expect("made");
        let not_fetched = named("smollm2", &fetched).expect_err("not fetched");
        assert_eq!((not_fetched.code, not_fetched.exit.code()), (ErrorCode::ModelNotFound, 5));
        assert_eq!(not_fetched.advice(), "cargo xtask model:fetch smollm2");
        let file = fetched.join(KNOWN[0].1);
        std::fs::write(&file, b"GGUF").expect("written");
        assert_eq!(named("smollm2", &fetched).expect("fetched"), file);
        let text = file.to_string_lossy();
        assert_eq!(named(&text, &fetched).expect("a file"), file);

        let typo = text.replace("Instruct", "Instrct");
        let missing = named(&typo, &fetched).expect_err("a typo");
        assert_eq!(missing.evidence, [format!("near: {text}")]);
        let missing = named("smolm2", &fetched).expect_err("a typo");
        assert_eq!(missing.evidence, ["near: smollm2"]);
        let folder = named(&fetched.to_string_lossy(), &fetched).expect_err("a folder");
        assert_eq!(folder.code, ErrorCode::ModelInvalid);
        assert!(folder.evidence[0].contains("Q4_1"), "{:?}", folder.evidence);
    }

    #[test]
    fn distances_are_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("", "ab"), distance("ab", "ab")), (2, 0));
    }
}
