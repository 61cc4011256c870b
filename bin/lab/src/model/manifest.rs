use std::path::Path;

use dialtone_contract::ErrorCode;
use serde::Deserialize;

use crate::failure::Failure;

/// The models that are known without a manifest of the user's own.
const KNOWN: &str = include_str!("../../models.json");

/// One model that can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What it is asked for as.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Name of its file, also within its wheel.
    pub file: String,
    /// Size of the file.
    pub bytes: u64,
    /// Hash of the file, as lower-case hex digits.
    pub sha256: String,
    /// The Python package that carries it.
    pub package: String,
    /// Version of the package.
    pub version: String,
    /// File name of the package's wheel.
    pub wheel: String,
    /// SPDX name of its licence.
    pub licence: String,
    /// Its chat template.
    pub template: String,
}

/// The model of this name, from the user's manifest or the known ones.
pub fn find(name: &str, manifest: Option<&Path>) -> Result<Model, Failure> {
    let text = match manifest {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Failure::environment(format!("cannot read {}", path.display()), error)
        })?,
        None => KNOWN.to_owned(),
    };
    let models: Vec<Model> = serde_json::from_str(&text)
        .map_err(|error| Failure::environment("the manifest cannot be used", error))?;
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let Some(model) = models.iter().find(|model| model.name == name) else {
        let known = names.join(", ");
        return Err(Failure::new(ErrorCode::Usage, format!("there is no model {name:?} to fetch"))
            .hint(format!("fetch one of: {known}")));
    };
    model.check().map(|()| model.clone())
}

impl Model {
    fn check(&self) -> Result<(), Failure> {
        let plain = |name: &str| Path::new(name).file_name().is_some_and(|plain| plain == name);
        let hash = |text: &str| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let wrong = if !plain(&self.file) || !plain(&self.wheel) {
            "a file name has folders"
        } else if !hash(&self.sha256) {
            "the sha256 is not 64 hex digits"
        } else if self.package.starts_with('-') || self.version.is_empty() {
            "the package cannot be"
        } else {
            return Ok(());
        };
        Err(Failure::environment(format!("the manifest's {:?} cannot be used", self.name), wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_models_are_sound() {
        let model = find("smollm2", None).expect("known");
        assert_eq!(model.bytes, 98_362_432);
        let unknown = find("gpt5", None).expect_err("unknown");
        assert_eq!(unknown.code, ErrorCode::Usage);
        assert_eq!(unknown.advice(), "fetch one of: smollm2");
    }
}
