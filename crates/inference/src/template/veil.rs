use std::collections::HashMap;
use std::ops::Range;

use super::Prompt;

/// The first of the characters that contents are veiled with: planes 15 and 16, for private
/// use, in which no font, vocabulary or template has anything.
const FIRST: u32 = 0xF0000;
/// How many there are. A conversation has fewer different characters: Unicode has given out
/// some 160 thousand, most of them rare Han.
const COUNT: u32 = 0x11_0000 - FIRST;

/// Texts that templates look for in what a model said before, to leave its reasoning out of
/// the history. They end no turn, so contents may have them.
const KEPT: [&str; 2] = ["<think>", "</think>"];

/// Replaces the characters of contents, so that after the template has run it is known of
/// every character whether a content wrote it.
///
/// Space stays as it is, since templates trim contents, and so do quotes and backslashes,
/// which `tojson` must escape: no control token has a name of these alone.
#[derive(Default)]
pub(super) struct Veil {
    letters: Vec<char>,
    places: HashMap<char, char>,
}

impl Veil {
    /// `content` with its characters replaced.
    pub(super) fn cover(&mut self, content: &str) -> String {
        let mut covered = String::with_capacity(content.len() * 4);
        let mut rest = content;
        while let Some(letter) = rest.chars().next() {
            if let Some(kept) = KEPT.into_iter().find(|kept| rest.starts_with(kept)) {
                covered.push_str(kept);
                rest = &rest[kept.len()..];
                continue;
            }
            rest = &rest[letter.len_utf8()..];
            covered.push(self.replacement(letter));
        }
        covered
    }

    fn replacement(&mut self, letter: char) -> char {
        if letter.is_whitespace() || letter.is_control() || matches!(letter, '"' | '\\') {
            return letter;
        }
        if let Some(known) = self.places.get(&letter) {
            return *known;
        }
        let place = u32::try_from(self.letters.len()).ok().filter(|place| *place < COUNT);
        // Never in practice; a lost character is better than a trusted one.
        let Some(free) = place.and_then(|place| char::from_u32(FIRST + place)) else {
            return char::REPLACEMENT_CHARACTER;
        };
        self.letters.push(letter);
        self.places.insert(letter, free);
        free
    }

    /// The text that a template wrote, with the characters of contents restored and marked.
    pub(super) fn lift(&self, text: &str) -> Prompt {
        let mut lifted = String::with_capacity(text.len());
        let mut untrusted: Vec<Range<usize>> = Vec::new();
        // Whether nothing but space, quotes and the like came since the last marked character.
        let mut goes_on = false;
        for letter in text.chars() {
            let start = lifted.len();
            let place = u32::from(letter).checked_sub(FIRST);
            if let Some(original) = place.and_then(|place| self.letters.get(place as usize)) {
                lifted.push(*original);
                match untrusted.last_mut() {
                    Some(last) if goes_on => last.end = lifted.len(),
                    _ => untrusted.push(start..lifted.len()),
                }
                goes_on = true;
            } else {
                lifted.push(letter);
                goes_on &= letter.is_whitespace() || matches!(letter, '"' | '\\');
            }
        }
        Prompt { text: lifted, untrusted }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_character_of_a_content_is_known_again() {
        let mut veil = Veil::default();
        let covered = veil.cover(" a \"b\"\u{F0000}\n");
        assert_eq!(covered.trim().len() + 2, covered.len());
        let Prompt { text, untrusted } = veil.lift(&format!("<a>{}<b>", covered.trim()));
        assert_eq!(text, "<a>a \"b\"\u{F0000}<b>");
        assert_eq!(untrusted, std::slice::from_ref(&(3..12)));
    }

    proptest! {
        #[test]
        fn what_is_covered_comes_back(contents in proptest::collection::vec(any::<String>(), 0..4)) {
            let mut veil = Veil::default();
            let covered: String = contents.iter().map(|content| veil.cover(content)).collect();
            prop_assert!(!covered.contains("<|"));
            prop_assert_eq!(veil.lift(&covered).text, contents.concat());
        }
    }
}
