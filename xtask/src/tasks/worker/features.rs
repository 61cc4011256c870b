//! What is built for a backend that the default build does not have.

use dialtone_harness::flow::worker::Backend;

use crate::build::Selection;
use crate::place;

/// The binaries of a worker run.
pub const NAMES: &[&str] = &["supervise", "llm-worker"];

/// The package of the worker.
const PACKAGE: &str = "dialtone-llm-worker";

/// The worker with this backend, in a target folder of its own: in the common one, every build
/// without the backend's feature would replace it.
pub fn selection(backend: Backend) -> Selection {
    let name = backend.as_str();
    let folder = place::base().join("build").join(name);
    let features = ["llama-cpp", name].map(|feature| format!("{PACKAGE}/{feature}")).join(",");
    let folder = folder.to_string_lossy();
    let arguments = [
        "--package",
        PACKAGE,
        "--package",
        "dialtone-supervise",
        "--bins",
        // Half of it is C++, which is of no use unoptimised.
        "--release",
        "--features",
        &features,
        "--target-dir",
        &folder,
    ];
    let arguments = arguments.map(str::to_owned).to_vec();
    Selection { what: format!("llm-worker with {name}"), arguments, names: NAMES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_of_the_backend_is_built_apart() {
        let selection = selection(Backend::Cuda);
        let line = selection.arguments.join(" ");
        assert!(line.contains("dialtone-llm-worker/llama-cpp,dialtone-llm-worker/cuda"), "{line}");
        assert!(line.contains("build/cuda") || line.contains(r"build\cuda"), "{line}");
        assert_eq!(selection.names, ["supervise", "llm-worker"]);
    }
}
