//! `cargo xtask` alone: what there is, by group.

use std::fmt::Write;

/// One command of the menu.
pub struct Entry {
    group: &'static str,
    /// How it is called.
    pub name: &'static str,
    about: &'static str,
}

/// Everything that there is. A name that is not here is not offered.
pub const ENTRIES: &[Entry] = &[
    Entry {
        group: "try first",
        name: "worker:test",
        about: "an LLM worker with a real model, and all it must do",
    },
    Entry {
        group: "try first",
        name: "batch:test",
        about: "149 simulated calls through the real pipeline",
    },
    Entry {
        group: "look closer",
        name: "batch:explain",
        about: "why an entry of a batch is not moving",
    },
    Entry {
        group: "endurance",
        name: "worker:soak",
        about: "1,000 clients that leave an LLM worker, and nothing that stays",
    },
    Entry {
        group: "endurance",
        name: "sim",
        about: "thousands of batches in virtual time, while everything goes wrong that can",
    },
    Entry {
        group: "recordings",
        name: "recordings:analyze",
        about: "response latency from stereo recordings; calls are made up if there are none",
    },
    Entry {
        group: "recordings",
        name: "recordings:selftest",
        about: "how far the analysis of recordings is off, on calls of known truth",
    },
    Entry {
        group: "services",
        name: "dev",
        about: "the stack on ports 7880 and 8000, until Ctrl-C",
    },
    Entry {
        group: "models",
        name: "model:fetch",
        about: "a real model for worker:test --model smollm2, 98 MB",
    },
    Entry { group: "repository", name: "tidy", about: "the rules of the repository, checked" },
];

/// Column in which the names begin.
const NAMES: usize = 14;
/// Column in which the descriptions begin.
const ABOUTS: usize = 19;

impl Entry {
    /// The verb of a `noun:verb`.
    pub fn verb(&self) -> Option<&'static str> {
        self.name.split_once(':').map(|(_, verb)| verb)
    }

    /// The entry in a list without groups.
    pub fn line(&self) -> String {
        format!("  {:<ABOUTS$} {}\n", self.name, self.about)
    }
}

/// The command that these words call, however they spell it: `noun:verb`, `noun-verb`, `noun verb`.
pub fn called(first: &str, second: Option<&str>) -> Option<&'static str> {
    let spelled = |entry: &&Entry| {
        entry.name.split_once(':').is_some_and(|(noun, verb)| {
            first == format!("{noun}-{verb}") || (first == noun && second == Some(verb))
        })
    };
    ENTRIES.iter().find(spelled).map(|entry| entry.name)
}

/// The commands of one noun.
pub fn verbs(noun: &str) -> Vec<&'static Entry> {
    let of_noun = |entry: &&Entry| entry.name.split_once(':').is_some_and(|(n, _)| n == noun);
    ENTRIES.iter().filter(of_noun).collect()
}

/// The menu.
pub fn text() -> String {
    let mut text = String::from("cargo xtask - developer harness of Dialtone\n\n");
    let mut last = "";
    for entry in ENTRIES {
        let group = if entry.group == last { "" } else { entry.group };
        last = entry.group;
        let _ = writeln!(text, "  {group:<NAMES$}{:<ABOUTS$} {}", entry.name, entry.about);
    }
    text.push_str("\n  cargo xtask COMMAND --help tells a command's flags.\n");
    text
}
