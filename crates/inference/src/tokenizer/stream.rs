/// Bytes of tokens to text, whole characters only.
///
/// A token can end in the middle of a character. Its bytes are held back until the character
/// is whole; bytes that can never become one turn into U+FFFD at once, so that at most three
/// bytes ever wait.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// With nothing held back.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The text that the next token's bytes complete; often empty.
    #[must_use = "the text is not kept"]
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = &self.pending[..];
        let whole = loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break rest.len();
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&rest[..valid]));
                    let Some(invalid) = error.error_len() else { break valid };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[valid + invalid..];
                }
            }
        };
        let kept = rest.len() - whole;
        self.pending.drain(..self.pending.len() - kept);
        text
    }

    /// What is held back, as text: one U+FFFD if a character was begun.
    #[must_use = "the text is not kept"]
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_come_whole() {
        let mut stream = TextStream::new();
        let [a, b, c, d] = "🦷".as_bytes() else { panic!("four bytes") };
        assert_eq!(stream.push(&[b'a', *a]), "a");
        assert_eq!(stream.push(&[*b, *c]), "");
        assert_eq!(stream.push(&[*d, b'b']), "🦷b");
        assert_eq!(stream.push(&[*a, *b]), "");
        assert_eq!(stream.push(b"c"), "\u{FFFD}c");
        assert_eq!(stream.push(&[0xFF, *a]), "\u{FFFD}");
        assert_eq!(stream.finish(), "\u{FFFD}");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            cut in 0_usize..64,
        ) {
            let cut = cut.min(bytes.len());
            let mut stream = TextStream::new();
            let mut text = stream.push(&bytes[..cut]);
            text += &stream.push(&bytes[cut..]);
            prop_assert!(stream.pending.len() <= 3);
            text += &stream.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
