//! Rules about manifests: one set of lints, one place for dependencies.

use super::Answer;
use super::workspace::Workspace;

/// Every package takes the workspace's lints.
pub fn lints(workspace: &Workspace) -> Answer {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let Some(manifest) = workspace.manifest(package) else { continue };
        if !takes_lints(&manifest.text) {
            violations.push(format!("{}:1: no `[lints] workspace = true`", manifest.path));
        }
    }
    Ok((format!("{} packages", workspace.packages.len()), violations))
}

/// Every dependency stands once, in the root manifest.
pub fn dependencies(workspace: &Workspace) -> Answer {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let Some(manifest) = workspace.manifest(package) else { continue };
        violations.extend(own_dependencies(&manifest.text).map(|(line, text)| {
            format!("{}:{line}: `{text}` is not taken from the workspace", manifest.path)
        }));
    }
    Ok((format!("{} packages", workspace.packages.len()), violations))
}

fn takes_lints(manifest: &str) -> bool {
    in_sections(manifest, |section| section == "lints")
        .any(|(_, line)| line.replace(' ', "") == "workspace=true")
}

/// The dependencies that a manifest declares by itself.
fn own_dependencies(manifest: &str) -> impl Iterator<Item = (usize, &str)> {
    let dependencies = |section: &str| {
        section.rsplit('.').next().is_some_and(|last| {
            matches!(last, "dependencies" | "dev-dependencies" | "build-dependencies")
        })
    };
    in_sections(manifest, dependencies)
        .filter(|(_, line)| !line.replace(' ', "").contains("workspace=true"))
}

/// The lines of the sections that `pick` names, without comments and empty ones.
fn in_sections(manifest: &str, pick: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    manifest.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = pick(section.trim_end_matches(']'));
            return None;
        }
        (inside && !line.is_empty() && !line.starts_with('#')).then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_and_dependencies_come_from_the_workspace() {
        let good = "[package]\nname = \"a\"\n[dependencies]\n# why\nserde.workspace = true\n\
                    tokio = { workspace = true }\n[lints]\nworkspace = true\n";
        assert!(takes_lints(good));
        assert_eq!(own_dependencies(good).count(), 0);
        let bad = "[target.'cfg(unix)'.dev-dependencies]\nlibc = \"0.2\"\n[lints]\n";
        assert!(!takes_lints(bad));
        assert_eq!(own_dependencies(bad).collect::<Vec<_>>(), [(2, "libc = \"0.2\"")]);
    }
}
