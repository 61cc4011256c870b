use std::ops::Range;

use crate::Token;

/// Longer names are not looked for: no model has them, and a hostile file could make each
/// byte of a text cost as much as its longest name.
const LONGEST: usize = 512;

/// The tokens that are found in text by name.
pub(crate) struct Names {
    // Sorted by name; of two with one name the later token alone.
    sorted: Vec<(Box<str>, Token)>,
    // For each first byte, its place in `sorted`.
    by_first: Box<[Range<usize>; 256]>,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fragment<'a> {
    /// Plain text; not empty.
    Text(&'a str),
    /// A token that stood there by name.
    Token(Token),
}

impl Names {
    pub(crate) fn new<'a>(names: impl Iterator<Item = (&'a str, Token)>) -> Self {
        let mut sorted: Vec<(Box<str>, Token)> = names
            .filter(|(name, _)| name.len() <= LONGEST)
            .map(|(name, token)| (name.into(), token))
            .collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        sorted.dedup_by(|a, b| a.0 == b.0);
        let mut by_first: Box<[Range<usize>; 256]> = Box::new([const { 0..0 }; 256]);
        for (at, (name, _)) in sorted.iter().enumerate() {
            let range = &mut by_first[usize::from(name.as_bytes()[0])];
            *range = if range.end == 0 { at..at + 1 } else { range.start..at + 1 };
        }
        Self { sorted, by_first }
    }

    /// `text` cut at every name outside the ranges `untrusted`; at each place the longest name.
    pub(crate) fn fragments<'a>(
        &'a self,
        text: &'a str,
        untrusted: &'a [Range<usize>],
    ) -> Fragments<'a> {
        Fragments { names: self, text, untrusted, at: 0, found: None }
    }

    /// The longest name that `text` begins with: its length and token.
    fn longest(&self, text: &[u8]) -> Option<(usize, Token)> {
        let mut range = self.by_first[usize::from(*text.first()?)].clone();
        let mut best = None;
        let mut length = 0;
        // One byte more each round narrows the names that are still possible.
        while !range.is_empty() {
            length += 1;
            let first = &self.sorted[range.start];
            if first.0.len() == length {
                best = Some((length, first.1));
                range.start += 1;
            }
            let Some(&next) = text.get(length) else { break };
            let names = &self.sorted[range.clone()];
            let from = names.partition_point(|name| name.0.as_bytes()[length] < next);
            let to = names.partition_point(|name| name.0.as_bytes()[length] <= next);
            range = range.start + from..range.start + to;
        }
        best
    }
}

/// See [`Names::fragments`].
pub(crate) struct Fragments<'a> {
    names: &'a Names,
    text: &'a str,
    untrusted: &'a [Range<usize>],
    at: usize,
    found: Option<Token>,
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        if let Some(token) = self.found.take() {
            return Some(Fragment::Token(token));
        }
        let start = self.at;
        while self.at < self.text.len() {
            // Up to where a name may reach.
            let mut limit = self.text.len();
            if let Some(range) = self.untrusted.first() {
                if range.end <= self.at || range.is_empty() {
                    self.untrusted = &self.untrusted[1..];
                    continue;
                }
                if range.start <= self.at {
                    self.at = range.end.min(limit);
                    continue;
                }
                limit = range.start.min(limit);
            }
            let Some((length, token)) = self.names.longest(&self.text.as_bytes()[self.at..limit])
            else {
                self.at += 1;
                continue;
            };
            let text = &self.text[start..self.at];
            self.at += length;
            if text.is_empty() {
                return Some(Fragment::Token(token));
            }
            self.found = Some(token);
            return Some(Fragment::Text(text));
        }
        (start < self.text.len()).then(|| Fragment::Text(&self.text[start..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new([("<|a|>", 1), ("<|a|>b", 2), ("<|", 3), ("ü", 4)].into_iter())
    }

    fn cut<'a>(
        names: &'a Names,
        text: &'a str,
        untrusted: &'a [Range<usize>],
    ) -> Vec<Fragment<'a>> {
        names.fragments(text, untrusted).collect()
    }

    #[test]
    fn the_longest_name_wins() {
        use Fragment::{Text, Token};
        let names = names();
        assert_eq!(cut(&names, "x<|a|>by", &[]), [Text("x"), Token(2), Text("y")]);
        assert_eq!(cut(&names, "<|a|><|a|", &[]), [Token(1), Token(3), Text("a|")]);
        assert_eq!(cut(&names, "für", &[]), [Text("f"), Token(4), Text("r")]);
        assert_eq!(cut(&names, "", &[]), []);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one untrusted range")]
    fn names_that_touch_untrusted_text_are_text() {
        use Fragment::{Text, Token};
        let names = names();
        let text = "<|a|><|a|>b<|a|>";
        assert_eq!(cut(&names, text, &[5..10]), [Token(1), Text("<|a|>b"), Token(1)]);
        // The longer name reaches into the range, the shorter one does not.
        assert_eq!(cut(&names, text, &[10..11]), [Token(1), Token(1), Text("b"), Token(1)]);
        assert_eq!(cut(&names, text, &[1..2]), [Text("<|a|>"), Token(2), Token(1)]);
        assert_eq!(cut(&names, text, &[0..99]), [Text(text)]);
        assert_eq!(cut(&names, text, &[3..3]), [Token(1), Token(2), Token(1)]);
    }
}
