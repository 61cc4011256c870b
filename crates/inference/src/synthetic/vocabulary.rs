use crate::gguf::Strings;

/// Pairs that become one token, in the spelling of GPT-2, where `Ġ` is the space.
const MERGES: [(&str, &str); 5] = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("Ġ", "a")];
/// Tokens that text cannot make.
const SPECIAL: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];
/// Tokens of single bytes.
const BYTES: usize = 256;

/// The smallest vocabulary.
pub(super) const MIN: usize = BYTES + MERGES.len() + SPECIAL.len();
/// The token that ends a message.
pub(super) const IM_END: u32 = (BYTES + MERGES.len()) as u32 + 1;
/// The token that ends a text.
pub(super) const END_OF_TEXT: u32 = IM_END + 1;

/// Token types of the format.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// The tokens: each byte, the merged ones, the special ones, then made-up words that no text
/// leads to, up to `count`.
pub(super) fn tokens(count: usize) -> Strings {
    let bytes = (0..=u8::MAX).map(|byte| spelling(byte).to_string());
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    let special = SPECIAL.iter().map(|&token| token.to_owned());
    let words = (0..).map(word);
    bytes.chain(merged).chain(special).chain(words).take(count).collect()
}

/// What kind of token each is.
pub(super) fn token_types(count: usize) -> Vec<i32> {
    let special = BYTES + MERGES.len()..MIN;
    (0..count).map(|token| if special.contains(&token) { CONTROL } else { NORMAL }).collect()
}

/// The merges, best first.
pub(super) fn merges() -> Strings {
    MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect()
}

/// The character that GPT-2's vocabulary has for a byte: itself where it is visible, else the
/// next one from U+0100 on.
fn spelling(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return byte.into();
    }
    let hidden_before = (0..byte).filter(|&before| !visible(before)).count();
    char::from_u32(0x100 + hidden_before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The word number `index`: a space, and syllables that count it.
fn word(index: usize) -> String {
    const FIRST: [char; 14] =
        ['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
    const SECOND: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
    let mut word = String::from("Ġ");
    let mut left = index;
    loop {
        word.push(FIRST[left % FIRST.len()]);
        left /= FIRST.len();
        word.push(SECOND[left % SECOND.len()]);
        left /= SECOND.len();
        if left == 0 {
            return word;
        }
        // Else words of other lengths would be counted twice.
        left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_are_unique_and_bytes_are_spelled_as_gpt2_does() {
        let tokens = tokens(150_000);
        assert_eq!(tokens.len(), 150_000);
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 150_000);
        let spelled = |byte: u8| tokens.get(byte.into());
        assert_eq!(spelled(b'A'), Some("A"));
        assert_eq!(spelled(b' '), Some("Ġ"));
        assert_eq!(spelled(b'\n'), Some("Ċ"));
        assert_eq!(spelled(0xad), Some("Ń"));
        assert_eq!(tokens.get(IM_END as usize), Some("<|im_end|>"));
        assert_eq!(tokens.get(END_OF_TEXT as usize), Some("<|endoftext|>"));
    }
}
