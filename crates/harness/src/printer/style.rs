//! How words look. Colour only adds: every line reads the same without it.

use std::ffi::OsStr;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours and weights.
    pub colour: bool,
    /// Characters outside ASCII.
    pub unicode: bool,
}

/// The meaning of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Good.
    Good,
    /// Bad.
    Bad,
    /// Neither, but not to be missed.
    Warn,
    /// A heading or a figure.
    Bold,
}

impl Style {
    /// No colours, ASCII only.
    pub const PLAIN: Self = Self { colour: false, unicode: false };

    /// What this environment allows; `terminal` says whether a person looks at it.
    pub fn detect(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let colour = terminal
            && set("NO_COLOR").is_none()
            && set("TERM").as_deref() != Some(OsStr::new("dumb"));
        // The first of these that is set decides, as in POSIX.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Self { colour, unicode: locale.contains("utf-8") || locale.contains("utf8") }
    }

    /// The word in its tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Warn => "1;33",
            Tone::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// The line between what happened and what came of it.
    pub fn ruler(self) -> String {
        let dash = if self.unicode { "\u{2500}" } else { "-" };
        format!(" {}", dash.repeat(12))
    }
}
