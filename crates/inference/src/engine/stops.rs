/// Finds the texts at which an answer ends, though they come in pieces.
///
/// The text that is complete first wins, and of two that are complete at once the longer: so
/// the answer does not depend on how the tokens cut it.
#[derive(Debug)]
pub(super) struct Stops {
    stops: Vec<String>,
    /// The end of the text so far, as far as one of them may begin in it.
    held: String,
}

impl Stops {
    /// `stops` are not empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes more text. Returns what can leave now, and whether the answer ends after it.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(begin) = self.earliest() {
            self.held.truncate(begin);
            return (std::mem::take(&mut self.held), true);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when nothing follows.
    pub fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the text at which to stop begins.
    fn earliest(&self) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let begin = self.held.find(stop)?;
            Some((begin + stop.len(), begin))
        });
        found.min().map(|(_, begin)| begin)
    }
}

/// Bytes of the longest end of `text` with which `stop` begins. Both being UTF-8, it begins at a
/// character.
fn overlap(text: &str, stop: &str) -> usize {
    let (text, stop) = (text.as_bytes(), stop.as_bytes());
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|n| text.ends_with(&stop[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that leaves when `text` comes in pieces of `cut` characters.
    fn in_pieces(text: &str, stops: &[String], cut: usize) -> (String, bool) {
        let mut finder = Stops::new(stops.to_vec());
        let mut out = String::new();
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(cut) {
            let (left, stopped) = finder.push(&piece.iter().collect::<String>());
            out.push_str(&left);
            if stopped {
                return (out, true);
            }
        }
        out.push_str(&finder.rest());
        (out, false)
    }

    /// The plain way: look at ever longer beginnings of the text.
    fn naive(text: &str, stops: &[String]) -> (String, bool) {
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        for beginning in ends.map(|end| &text[..end]) {
            let longest = stops.iter().filter(|stop| beginning.ends_with(*stop)).map(String::len);
            if let Some(longest) = longest.max() {
                return (beginning[..beginning.len() - longest].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            text in "[abé]{0,40}",
            stops in prop::collection::vec("[abé]{1,5}", 0..4),
            cut in 1_usize..6,
        ) {
            prop_assert_eq!(in_pieces(&text, &stops, cut), naive(&text, &stops));
        }
    }

    #[test]
    fn what_cannot_begin_a_stop_leaves_at_once() {
        let mut stops = Stops::new(vec!["\n\n".to_owned(), "User:".to_owned()]);
        assert_eq!(stops.push("Hello\n"), ("Hello".to_owned(), false));
        assert_eq!(stops.push("Us"), ("\n".to_owned(), false));
        assert_eq!(stops.push("ual"), ("Usual".to_owned(), false));
        assert_eq!(stops.push("\nUser: hi"), ("\n".to_owned(), true));
        assert_eq!(stops.rest(), "");
    }
}
