//! The JUnit file of a run.

use std::time::Duration;

use dialtone_contract::Verdict;
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::envelope::{Check, CheckStatus, Envelope};

/// The run as JUnit XML: one suite, one case for each check and each invariant.
///
/// The suite is called `noun-verb`: a colon is not allowed in file and artifact names, and tools
/// make such names from suites.
pub fn render(envelope: &Envelope) -> String {
    let name = envelope.command.replace(':', "-");
    let mut suite = TestSuite::new(&name);
    suite.add_property(Property::new("run_id", &envelope.run_id));
    suite.add_property(Property::new("seed", envelope.seed.to_string()));
    suite.set_time(Duration::from_secs_f64(envelope.wall_s.max(0.0)));
    for check in &envelope.checks {
        let mut case = TestCase::new(&check.name, status(check));
        case.set_classname(&name);
        case.set_time(Duration::from_secs_f64(check.duration_ms.max(0.0) / 1e3));
        if check.status == CheckStatus::Passed && !check.detail.is_empty() {
            case.set_system_out(&check.detail);
        }
        suite.add_test_case(case);
    }
    for part in &envelope.cases {
        for check in &part.checks {
            let mut case = TestCase::new(&check.name, status(check));
            case.set_classname(format!("{name}.{}", part.name));
            case.set_time(Duration::from_secs_f64(check.duration_ms.max(0.0) / 1e3));
            suite.add_test_case(case);
        }
    }
    for invariant in &envelope.invariants {
        let status = if invariant.holds {
            TestCaseStatus::success()
        } else {
            failed(NonSuccessKind::Failure, "invariant_broken", invariant.detail.as_deref())
        };
        let mut case = TestCase::new(format!("invariant {}", invariant.name), status);
        case.set_classname(format!("{name}.invariants"));
        suite.add_test_case(case);
    }
    // A run that broke off has no failed check to show; without this case it would look green.
    if let Some(error) = &envelope.error
        && envelope.count(CheckStatus::Failed) == 0
        && envelope.verdict != Verdict::Skipped
    {
        let text = format!("{}; {}", error.message, error.hint);
        let status = failed(NonSuccessKind::Error, error.code.as_str(), Some(&text));
        let mut case = TestCase::new("run", status);
        case.set_classname(&name);
        suite.add_test_case(case);
    }
    let mut report = Report::new(&name);
    report.add_test_suite(suite);
    report.to_string().expect("a report made of plain text serialises")
}

fn status(check: &Check) -> TestCaseStatus {
    match check.status {
        CheckStatus::Passed => TestCaseStatus::success(),
        CheckStatus::Failed => failed(
            NonSuccessKind::Failure,
            check.code.map_or("check_failed", |code| code.as_str()),
            Some(&check.detail),
        ),
        CheckStatus::Skipped | CheckStatus::NotRun => {
            let mut status = TestCaseStatus::skipped();
            let text = if check.detail.is_empty() { "not run" } else { &check.detail };
            status.set_message(text);
            status
        }
    }
}

fn failed(kind: NonSuccessKind, code: &str, text: Option<&str>) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(code);
    status.set_message(text.unwrap_or(code));
    status
}

#[cfg(test)]
mod tests {
    use dialtone_contract::{ErrorCode, ExitCode};

    use super::*;
    use crate::envelope::{ErrorRecord, Invariant};
    use crate::failure::Failure;

    #[test]
    fn a_failed_run() {
        let mut envelope = Envelope::new("batch:test", "7f3a", 42);
        let failure = Failure::new(ErrorCode::WrongCounts, "completed is 23 & <24> was planned");
        envelope.wall_s = 2.5;
        envelope.checks = vec![
            Check::new("ready", CheckStatus::Passed, Duration::from_millis(231), "3 services"),
            Check::failed("counts", Duration::from_millis(2), &failure),
            Check::new("teardown", CheckStatus::NotRun, Duration::ZERO, ""),
        ];
        envelope.invariants = vec![
            Invariant { name: "nothing_lost".into(), holds: true, detail: None },
            Invariant { name: "one_report".into(), holds: false, detail: Some("two".into()) },
        ];
        envelope.set_exit(ExitCode::CheckFailed);
        envelope.error = Some(ErrorRecord::from(&failure));
        insta::assert_snapshot!(render(&envelope));
    }

    #[test]
    fn a_run_that_broke_off_is_not_green() {
        let failure = Failure::new(ErrorCode::ChildExited, "dialtone ended with exit code 1");
        let envelope = Envelope::of_failure("batch:test", "7f3a", 42, &failure);
        let xml = render(&envelope);
        assert!(xml.contains("errors=\"1\"") && xml.contains("child_exited"), "{xml}");
    }
}
