//! Rules about source files.

use super::Answer;
use super::workspace::{File, Workspace};

/// Lines of a Rust file at most.
const LINES_MAX: usize = 600;

/// Files outside tests that may print past the event stream, and why.
const PRINTS: &[(&str, &str)] = &[];

/// Files whose tests may sleep outside a loop, and why.
const SLEEPS: &[(&str, &str)] = &[
    ("bin/supervise/tests/leaks.rs", "a watchdog over the whole test"),
    ("crates/serve/src/lag.rs", "a blocked loop is the fault under test"),
    ("crates/serve/src/patience.rs", "a slow handler is what is waited for"),
    ("tests/src/bin/bad_worker/answers.rs", "a worker that freezes is the fault under test"),
    ("tests/src/bin/bad_worker/beats.rs", "a worker whose beats come late is the fault under test"),
    ("crates/serve/tests/serve/child.rs", "a hanging handler is the fault under test"),
    ("tests/src/receiver.rs", "a webhook that answers late is the fault under test"),
];

/// Lines above a sleep in which the loop that polls must begin.
const POLL_LINES: usize = 15;

// Put together from parts, so that this file does not break its own rules.
const PRINTING: [&str; 4] = [
    concat!("print", "ln!("),
    concat!("eprint", "ln!("),
    concat!("pri", "nt!("),
    concat!("dbg", "!("),
];
const SLEEPING: &str = concat!("sle", "ep(");
const MACHINE: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Every crate root says what the crate is.
pub fn crate_docs(workspace: &Workspace) -> Answer {
    let mut violations = Vec::new();
    let mut roots = 0;
    for target in workspace.packages.iter().flat_map(|package| &package.targets) {
        let path = workspace.relative(&target.src_path);
        let Some(file) = workspace.files.iter().find(|file| file.path == path) else { continue };
        roots += 1;
        if !file.text.trim_start().starts_with("//!") {
            violations.push(format!("{path}:1: the crate has no `//!` docs"));
        }
    }
    Ok((format!("{roots} crate roots"), violations))
}

/// No file is too long to be one noun.
pub fn file_size(workspace: &Workspace) -> Answer {
    let lengths = || workspace.sources().map(|file| (file, file.text.lines().count()));
    let violations = lengths()
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| {
            format!("{}:{LINES_MAX}: the file has {lines} lines, {LINES_MAX} at most", file.path)
        })
        .collect();
    let longest = lengths().map(|(_, lines)| lines).max().unwrap_or(0);
    Ok((format!("{} files, the longest {longest} lines", lengths().count()), violations))
}

/// What is printed goes through the event stream or a log.
pub fn printing(workspace: &Workspace) -> Answer {
    let violations = workspace
        .sources()
        .filter(|file| !listed(PRINTS, &file.path) && !talks(&file.path))
        .flat_map(|file| {
            let (product, _) = split_tests(file);
            product.into_iter().filter_map(|(number, line)| {
                let word = PRINTING.iter().find(|word| names(line, word))?;
                Some(format!("{}:{number}: `{word}..)` past the event stream", file.path))
            })
        })
        .collect();
    Ok((format!("{} exceptions", PRINTS.len()), violations))
}

/// Build scripts talk to cargo on stdout, examples and benches to whoever runs them.
fn talks(path: &str) -> bool {
    path.ends_with("/build.rs") && !path.contains("/src/")
        || path.contains("/examples/")
        || path.contains("/benches/")
}

/// Tests wait for what they mean, not for luck. A sleep between two looks of a loop is a poll.
pub fn test_sleeps(workspace: &Workspace) -> Answer {
    let violations = workspace
        .sources()
        .filter(|file| !listed(SLEEPS, &file.path))
        .flat_map(|file| {
            let (_, tests) = split_tests(file);
            let lucky = lucky_sleeps(&tests);
            lucky.into_iter().map(|number| {
                format!("{}:{number}: a test sleeps; wait for what it needs instead", file.path)
            })
        })
        .collect();
    Ok((format!("{} exceptions", SLEEPS.len()), violations))
}

/// The lines that sleep outside a loop.
fn lucky_sleeps(lines: &[(usize, &str)]) -> Vec<usize> {
    let opens = |line: &str| {
        let line = line.trim_start();
        ["loop {", "while ", "for "].iter().any(|word| line.starts_with(word))
    };
    let polls = |at: usize| lines[at.saturating_sub(POLL_LINES)..at].iter().any(|(_, l)| opens(l));
    let sleeps = lines.iter().enumerate().filter(|(_, (_, line))| names(line, SLEEPING));
    sleeps.filter(|(at, _)| !polls(*at)).map(|(_, (number, _))| *number).collect()
}

/// Nothing names a folder of the machine that it was written on.
pub fn machine_paths(workspace: &Workspace) -> Answer {
    let violations = workspace
        .files
        .iter()
        .flat_map(|file| {
            file.text.lines().zip(1..).filter_map(|(line, number)| {
                let path = MACHINE.iter().find(|path| absolute(line, path))?;
                Some(format!("{}:{number}: names `{path}..`", file.path))
            })
        })
        .collect();
    Ok((format!("{} files", workspace.files.len()), violations))
}

/// Nothing that a document shall show is still to be filled in.
pub fn placeholders(workspace: &Workspace) -> Answer {
    let documents = || workspace.files.iter().filter(|file| file.path.ends_with(".md"));
    let violations = documents()
        .flat_map(|file| {
            file.text.lines().zip(1..).filter_map(|(line, number)| {
                let word = placeholder(line)?;
                Some(format!("{}:{number}: `@{word}@` is not filled in", file.path))
            })
        })
        .collect();
    Ok((format!("{} documents", documents().count()), violations))
}

/// The first word in capitals between two `@`.
fn placeholder(line: &str) -> Option<&str> {
    let capitals = |c: char| c.is_ascii_uppercase() || c == '_';
    let words = line.match_indices('@').filter_map(|(at, _)| line[at + 1..].split_once('@'));
    words.map(|(word, _)| word).find(|word| !word.is_empty() && word.chars().all(capitals))
}

fn listed(list: &[(&str, &str)], path: &str) -> bool {
    list.iter().any(|(known, _)| *known == path)
}

/// A call of this name, not the end of a longer one, and not in a comment.
fn names(line: &str, call: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//") {
        return false;
    }
    line.match_indices(call)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

/// The text where a path begins, not in the middle of a longer one or of a URL.
fn absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "._-/}>".contains(c))
    })
}

type Lines<'a> = Vec<(usize, &'a str)>;

/// The lines of the product and those of its tests. In a source file tests come last.
fn split_tests(file: &File) -> (Lines<'_>, Lines<'_>) {
    let lines = file.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let all_tests = file.path.starts_with("tests/")
        || file.path.contains("/tests/")
        || file.path.ends_with("tests.rs");
    if all_tests {
        return (Vec::new(), lines.collect());
    }
    let first = file
        .text
        .lines()
        .position(|line| line.trim_start().starts_with("#[cfg(") && line.contains("test"));
    let first = first.unwrap_or(usize::MAX);
    lines.partition(|(number, _)| *number <= first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_from_a_longer_name_and_a_comment() {
        assert!(names(&format!("    {SLEEPING}x).await;"), SLEEPING));
        assert!(names(&format!("std::thread::{SLEEPING}x)"), SLEEPING));
        assert!(!names(&format!("    a{SLEEPING}x)"), SLEEPING));
        assert!(!names(&format!("    // {SLEEPING}x)"), SLEEPING));
        assert!(!names(&format!("e{}x)", PRINTING[0]), PRINTING[0]));
    }

    #[test]
    fn build_scripts_examples_and_benches_may_print() {
        assert!(talks("bin/a/build.rs") && talks("crates/a/examples/speed.rs"));
        assert!(talks("bin/a/benches/speed.rs"));
        assert!(!talks("xtask/src/build.rs") && !talks("crates/a/src/lib.rs"));
    }

    #[test]
    fn a_sleep_between_two_looks_is_a_poll() {
        let nap = format!("    {SLEEPING}x);");
        assert_eq!(lucky_sleeps(&[(1, "loop {"), (2, &nap)]), Vec::<usize>::new());
        assert_eq!(lucky_sleeps(&[(1, "start();"), (2, &nap)]), [2]);
    }

    #[test]
    fn a_machine_path_is_told_from_a_part_of_one() {
        assert!(absolute(&format!("cd {}me", MACHINE[0]), MACHINE[0]));
        assert!(!absolute(&format!("https://example.org{}me", MACHINE[0]), MACHINE[0]));
        assert!(!absolute(&format!("docs{}x", MACHINE[3]), MACHINE[3]));
    }

    #[test]
    fn a_placeholder_is_told_from_an_address() {
        assert_eq!(placeholder("a@b.test, then @TWO_WORDS@."), Some("TWO_WORDS"));
        for line in ["a@b.test", "@@", "@Mixed@", "@ONE", "A@B and C@D"] {
            assert_eq!(placeholder(line), None, "{line}");
        }
    }

    #[test]
    fn tests_come_last_in_a_source_file() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
        let file = File { path: "crates/a/src/lib.rs".into(), text: text.clone() };
        let (product, tests) = split_tests(&file);
        assert_eq!((product.len(), tests.len()), (1, 3));
        let file = File { path: "crates/a/tests/a.rs".into(), text };
        assert_eq!(split_tests(&file).0.len(), 0);
    }
}
