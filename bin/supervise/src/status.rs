//! The pipe to the parent.

use std::io::Write;

use dialtone_child::protocol::Event;

/// Tells the parent. A parent that is gone does not matter here: the lifeline says so too.
pub fn tell(event: &Event) {
    let Ok(mut line) = event.to_line() else { return };
    line.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
