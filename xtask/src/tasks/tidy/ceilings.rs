//! How many crates a binary may pull in: a cold build is the first thing that a newcomer sees.

use std::collections::BTreeSet;

use super::Answer;
use super::workspace::Workspace;

/// Crates of a package with all it is built from, itself included.
const CEILINGS: &[(&str, usize)] = &[
    ("xtask", 130),
    // Sixteen of them are the PostgreSQL client.
    ("dialtone", 252),
    ("dialtone-livekit-dev-server", 170),
    ("dialtone-llm-worker", 130),
];

pub fn check(workspace: &Workspace) -> Answer {
    let mut said = Vec::new();
    let mut violations = Vec::new();
    for (package, most) in CEILINGS {
        let arguments = ["tree", "-p", package, "-e", "normal,build", "--prefix", "none"];
        let output = workspace.cargo(&arguments)?;
        let crates = count(&String::from_utf8_lossy(&output.stdout));
        said.push(format!("{package} {crates}/{most}"));
        if crates > *most {
            violations.push(format!(
                "Cargo.toml:1: {package} is built from {crates} crates, {most} at most"
            ));
        }
    }
    Ok((said.join(", "), violations))
}

/// Different crates of a tree; what was shown before is marked and counts once.
fn count(tree: &str) -> usize {
    let crates = tree.lines().map(|line| line.trim().trim_end_matches(" (*)"));
    crates.filter(|name| !name.is_empty()).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_is_shown_twice_counts_once() {
        assert_eq!(count("a v1\nb v1\nc v2\nb v1 (*)\n\n"), 3);
    }
}
