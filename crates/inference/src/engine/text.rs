use super::stops::Stops;

/// The text of one answer on its way out: whole characters, without the text that ends it.
#[derive(Debug)]
pub(super) struct Text {
    /// The bytes of a character that is not complete.
    partial: Vec<u8>,
    stops: Stops,
}

impl Text {
    pub fn new(stops: Vec<String>) -> Self {
        Self { partial: Vec::new(), stops: Stops::new(stops) }
    }

    /// Takes the bytes of a token. Returns what can leave now, and whether the answer ends.
    pub fn push(&mut self, bytes: &[u8]) -> (String, bool) {
        self.partial.extend_from_slice(bytes);
        let text = whole_characters(&mut self.partial);
        self.stops.push(&text)
    }

    /// What was held back, when nothing follows. The beginning of a character is no text.
    pub fn rest(&mut self) -> String {
        self.partial.clear();
        self.stops.rest()
    }
}

/// Takes the whole characters from the front; bytes that can never be part of one become U+FFFD.
fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut done = 0;
    for chunk in bytes.utf8_chunks() {
        let bad = chunk.invalid();
        let at_end = done + chunk.valid().len() + bad.len() == bytes.len();
        text.push_str(chunk.valid());
        done += chunk.valid().len();
        if bad.is_empty() || (at_end && may_go_on(bad)) {
            break;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        done += bad.len();
    }
    bytes.drain(..done);
    text
}

/// Whether `bytes`, not valid by themselves, are the beginning of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8], cut: usize) -> String {
        let mut text = Text::new(Vec::new());
        let mut out: String = bytes.chunks(cut).map(|piece| text.push(piece).0).collect();
        out.push_str(&text.rest());
        out
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(text in "\\PC{0,20}", cut in 1_usize..5) {
            prop_assert_eq!(all(text.as_bytes(), cut), text);
        }

        #[test]
        fn any_bytes_become_text(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            cut in 1_usize..5,
        ) {
            let mut wanted = String::from_utf8_lossy(&bytes).into_owned();
            let left = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
            if !left.is_empty() && may_go_on(left) {
                wanted.pop();
            }
            prop_assert_eq!(all(&bytes, cut), wanted);
        }
    }
}
