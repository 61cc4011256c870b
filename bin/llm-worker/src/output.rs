use std::io;

/// One line of what was asked for.
pub fn line(text: &str) {
    put(&mut io::stdout().lock(), text);
}

/// One line about what went wrong.
pub fn complaint(text: &str) {
    put(&mut io::stderr().lock(), text);
}

fn put(to: &mut impl io::Write, text: &str) {
    // Nobody listens any more if this fails.
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}
