//! The bar that moves while a batch runs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Style, line};
use crate::event::Progress;

/// How often the bar is drawn at most.
const FRAMES_PER_SECOND: u8 = 10;

/// A bar and a line under it, on stderr.
pub(super) struct Live {
    bar: ProgressBar,
    style: Style,
    begun: bool,
}

impl Live {
    pub(super) fn new(style: Style) -> Self {
        Self { bar: ProgressBar::hidden(), style, begun: false }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        if !self.begun {
            self.begun = true;
            let target = ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SECOND);
            self.bar = ProgressBar::with_draw_target(Some(u64::from(progress.total)), target);
            let (fill, colour) = match (self.style.unicode, self.style.colour) {
                (true, true) => ("\u{2501}\u{2578} ", "bar:40.green"),
                (true, false) => ("\u{2501}\u{2578} ", "bar:40"),
                (false, _) => ("=> ", "bar:40"),
            };
            let template = format!("{{prefix:>12}} {{{colour}}} {{pos}}/{{len}}\n{{wide_msg}}");
            let style = ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar.set_style(style.progress_chars(fill));
            self.bar.set_prefix("Running");
        }
        self.bar.set_position(u64::from(progress.ended));
        self.bar.set_message(format!("{:>12} {}", "", line::standing(progress)));
    }

    /// Writes beside the bar without tearing it.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
