//! `tidy`: the rules of the repository, checked. One rule, one line.

mod ceilings;
mod floors;
mod manifests;
mod sources;
mod workspace;

use std::time::Instant;

use dialtone_contract::ErrorCode;
use dialtone_harness::event::Event;
use dialtone_harness::failure::Failure;
use dialtone_harness::run::Run;

use self::workspace::Workspace;
use crate::cli::Output;
use crate::place;
use crate::session::Session;

/// The command.
const COMMAND: &str = "tidy";

/// What breaks a rule: a place and what is wrong there.
type Violation = String;

/// What is said when a rule holds, and what breaks it.
type Answer = Result<(String, Vec<Violation>), Failure>;

/// A rule: its name, what is said when it holds, and what breaks it.
struct Rule {
    name: &'static str,
    check: fn(&Workspace) -> Answer,
}

const RULES: &[Rule] = &[
    Rule { name: "floors", check: floors::check },
    Rule { name: "lints", check: manifests::lints },
    Rule { name: "dependencies", check: manifests::dependencies },
    Rule { name: "crate_docs", check: sources::crate_docs },
    Rule { name: "file_size", check: sources::file_size },
    Rule { name: "printing", check: sources::printing },
    Rule { name: "test_sleeps", check: sources::test_sleeps },
    Rule { name: "machine_paths", check: sources::machine_paths },
    Rule { name: "placeholders", check: sources::placeholders },
    Rule { name: "ceilings", check: ceilings::check },
];

/// The names of the rules, as the checks of the run.
const CHECKS: &[&str] = &[
    "floors",
    "lints",
    "dependencies",
    "crate_docs",
    "file_size",
    "printing",
    "test_sleeps",
    "machine_paths",
    "placeholders",
    "ceilings",
];

/// Flags of `tidy`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub async fn run(args: &Args) -> u8 {
    let mut session = Session::begin(COMMAND, None, &args.output);
    session.identity.again = "cargo xtask tidy".to_owned();
    session.bus.emit(Event::RunStarted {
        command: COMMAND.to_owned(),
        run_id: session.identity.run_id.clone(),
        seed: session.identity.seed,
        real: vec!["the files of the workspace".to_owned()],
        simulated: Vec::new(),
        plan: format!("{} rules", RULES.len()),
    });
    let workspace = session.prepare().and_then(|()| {
        let root = place::root().ok_or_else(|| {
            Failure::environment("the workspace is not above the working directory")
                .hint("run this inside the repository")
        })?;
        Workspace::read(&root)
    });
    let opened = workspace.and_then(|workspace| Ok((workspace, session.open(CHECKS)?)));
    let (workspace, run) = match opened {
        Ok(opened) => opened,
        Err(failure) => return session.refuse(&failure),
    };
    for rule in RULES {
        if let Some(asked) = session.interrupt.asked() {
            run.error(asked.failure());
            break;
        }
        judge(&run, rule, &workspace);
        // A signal is seen between two rules, not in the middle of one.
        tokio::task::yield_now().await;
    }
    let envelope = run.finish();
    session.exit(envelope)
}

fn judge(run: &Run, rule: &Rule, workspace: &Workspace) {
    let began = Instant::now();
    match (rule.check)(workspace) {
        Ok((detail, violations)) if violations.is_empty() => {
            run.pass(rule.name, began.elapsed(), detail);
        }
        Ok((_, violations)) => {
            let message = format!("rule {}: {} violations", rule.name, violations.len());
            let failure = Failure::new(ErrorCode::CheckFailed, message)
                .evidence(violations)
                .hint("correct the places above, or change the rule in xtask/src/tasks/tidy");
            run.fail(rule.name, began.elapsed(), failure);
        }
        Err(failure) => run.fail(rule.name, began.elapsed(), failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_a_check() {
        let names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names, CHECKS);
    }
}
