use std::borrow::Cow;

use crate::{TurnKind, Warning};

/// Text that means itself in HTML, in attributes too.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    Cow::Owned(safe)
}

/// A whole number, with a real minus sign where it is negative.
pub fn number(value: f64) -> String {
    let sign = if value <= -0.5 { "\u{2212}" } else { "" };
    format!("{sign}{:.0}", value.abs())
}

/// Milliseconds as people read them.
pub fn ms(value: f64) -> String {
    format!("{}\u{a0}ms", number(value))
}

/// How many there are of something whose plural is made with an s.
pub fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time in a call.
pub fn clock(s: f64) -> String {
    let s = s.max(0.0);
    let (minutes, seconds) = ((s / 60.0) as u64, s % 60.0);
    format!("{minutes}:{seconds:04.1}")
}

/// What a kind of turn is called.
pub const fn kind(kind: TurnKind) -> &'static str {
    match kind {
        TurnKind::Normal => "answer",
        TurnKind::Talkover => "talk-over",
        TurnKind::Greeting => "greeting",
        TurnKind::BargeIn => "barge-in",
        TurnKind::Unanswered => "unanswered",
    }
}

/// What is odd, in few words.
pub fn warning(warning: &Warning) -> String {
    match warning {
        Warning::Swapped => "channels look swapped".to_owned(),
        Warning::Undecided => "channels do not tell who is who".to_owned(),
        Warning::Damaged { pieces } => many(*pieces as usize, "damaged piece"),
        Warning::Mono => "both channels carry the same".to_owned(),
        Warning::Silent { side } => format!("no speech on the {} channel", side.as_str()),
        Warning::Clipped { side, percent } => {
            format!("{} channel clipped ({percent:.1} % of samples)", side.as_str())
        }
        Warning::Echo { side, level_db, delay_ms } => format!(
            "echo on the {} channel ({level_db:.0} dB after {delay_ms:.0} ms)",
            side.as_str()
        ),
        Warning::Truncated => "the file ends before it should".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_read_them() {
        assert_eq!(ms(-412.4), "\u{2212}412\u{a0}ms");
        assert_eq!(ms(-0.2), "0\u{a0}ms");
        assert_eq!(clock(83.46), "1:23.5");
        assert_eq!(escaped("<a b='\"&'>"), "&lt;a b=&#39;&quot;&amp;&#39;&gt;");
    }
}
