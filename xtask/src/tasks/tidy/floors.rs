//! Crates stand on floors and use lower floors only (docs/architecture.md, section "Floors").

use std::collections::BTreeMap;

use super::workspace::{Package, Workspace};
use super::{Answer, Violation};

/// The floor of each library. A new crate gets its line here.
const FLOORS: &[(&str, u8)] = &[
    ("dialtone-contract", 0),
    ("dialtone-clock", 0),
    ("dialtone-auth", 0),
    ("dialtone-child", 1),
    ("dialtone-postgres-cluster", 1),
    ("dialtone-serve", 1),
    ("dialtone-store", 1),
    ("dialtone-livekit", 1),
    ("dialtone-agent-worker", 1),
    ("dialtone-batch", 2),
    ("dialtone-livekit-dev", 2),
    ("dialtone-store-sqlite", 2),
    ("dialtone-store-postgres", 2),
    ("dialtone-inference", 2),
    ("dialtone-recordings", 2),
    ("dialtone-api", 3),
    ("dialtone-llm-api", 3),
    ("dialtone-harness", 3),
    ("dialtone-sim", 3),
];

/// Above all libraries: the binaries, xtask and the integration tests.
const TOP: u8 = 4;

/// From this floor on nothing is used sideways: such crates are systems, not tools.
const NO_SIDEWAYS: u8 = 2;

pub fn check(workspace: &Workspace) -> Answer {
    let violations =
        judge(&workspace.packages, |package| workspace.relative(&package.manifest_path));
    Ok((format!("{} packages", workspace.packages.len()), violations))
}

fn judge(packages: &[Package], place: impl Fn(&Package) -> String) -> Vec<Violation> {
    let known: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut violations = Vec::new();
    for package in packages {
        let manifest = place(package);
        let below_crates = manifest.starts_with("crates/");
        let floor = match known.get(package.name.as_str()) {
            Some(floor) => *floor,
            None if below_crates => {
                let table = "FLOORS in xtask/src/tasks/tidy/floors.rs";
                violations.push(format!("{manifest}:1: {} has no line in {table}", package.name));
                continue;
            }
            None => TOP,
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            // Tests may stand on whatever they test with.
            if dependency.kind.as_deref() == Some("dev") {
                continue;
            }
            let used = known.get(dependency.name.as_str()).copied().unwrap_or(TOP);
            let sideways = used == floor && floor < NO_SIDEWAYS;
            if used < floor || sideways {
                continue;
            }
            let (name, other) = (&package.name, &dependency.name);
            violations.push(format!(
                "{manifest}:1: {name} (floor {floor}) uses {other} (floor {used}), which is not below it"
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::workspace::Dependency;
    use super::*;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.into(),
            manifest_path: PathBuf::from(format!("crates/{name}/Cargo.toml")),
            dependencies: uses
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).into(),
                    kind: kind.map(Into::into),
                    path: Some(PathBuf::new()),
                })
                .collect(),
            targets: Vec::new(),
        }
    }

    fn judged(package: Package) -> Vec<String> {
        judge(&[package], |p| p.manifest_path.to_string_lossy().into_owned())
    }

    #[test]
    fn downward_and_low_sideways_edges_are_fine() {
        assert!(judged(package("dialtone-contract", &[("dialtone-clock", None)])).is_empty());
        assert!(judged(package("dialtone-serve", &[("dialtone-child", None)])).is_empty());
        assert!(judged(package("dialtone-batch", &[("dialtone-store", None)])).is_empty());
        let dev = package("dialtone-livekit-dev", &[("dialtone-batch", Some("dev"))]);
        assert!(judged(dev).is_empty());
    }

    #[test]
    fn upward_and_high_sideways_edges_are_not() {
        for (name, used) in [
            ("dialtone-contract", "dialtone-store"),
            ("dialtone-batch", "dialtone-store-sqlite"),
            ("dialtone-api", "dialtone-harness"),
            ("dialtone-batch", "xtask"),
        ] {
            assert_eq!(judged(package(name, &[(used, None)])).len(), 1, "{name} -> {used}");
        }
    }

    #[test]
    fn a_crate_without_a_floor_is_told() {
        let told = judged(package("dialtone-new", &[]));
        assert!(told[0].contains("has no line in FLOORS"), "{told:?}");
    }
}
