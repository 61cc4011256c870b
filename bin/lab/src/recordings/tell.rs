use std::io::Write as _;
use std::time::Duration;

use dialtone_contract::ErrorCode;
use dialtone_harness::envelope::{Check, CheckStatus};
use dialtone_harness::tool::Told;

/// Tells something to whoever runs this tool.
pub fn tell(told: &Told) {
    // A reader that has gone away ends this process by its lifeline.
    let _ = std::io::stdout().write_all(told.to_line().as_bytes());
}

/// Tells whole lines of text.
pub fn text(text: impl Into<String>) {
    tell(&Told::Text { text: text.into() });
}

/// Tells a figure, if there is one.
pub fn metric(name: impl Into<String>, value: Option<f64>) {
    if let Some(value) = value.filter(|value| value.is_finite()) {
        tell(&Told::Metric { name: name.into(), value });
    }
}

/// Tells what became of a check.
pub fn check(name: &str, passed: bool, took: Duration, detail: String, hint: &str) {
    let status = if passed { CheckStatus::Passed } else { CheckStatus::Failed };
    let mut check = Check::new(name, status, took, detail);
    if !passed {
        check.code = Some(ErrorCode::CheckFailed);
        check.hint = Some(hint.to_owned());
    }
    tell(&Told::Check(check));
}

/// Tells that a check could not be judged.
pub fn skip(name: &str, why: String) {
    tell(&Told::Check(Check::new(name, CheckStatus::Skipped, Duration::ZERO, why)));
}
