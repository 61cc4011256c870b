//! Text for people outside any run: the menu, help, usage errors.

use std::io::{self, Write};
use std::process::ExitCode;

/// Prints to stdout. A reader that has gone away is no error.
pub fn print(text: &str, code: ExitCode) -> ExitCode {
    put(&mut io::stdout(), text, code)
}

/// Prints to stderr.
pub fn complain(text: &str, code: ExitCode) -> ExitCode {
    put(&mut io::stderr(), text, code)
}

fn put(writer: &mut dyn Write, text: &str, code: ExitCode) -> ExitCode {
    let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    code
}
