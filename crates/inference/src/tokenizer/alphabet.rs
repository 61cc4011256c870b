//! The alphabet of byte-level vocabularies: GPT-2 writes each byte as one printable character.
//!
//! Bytes that are printable in Latin-1 stand for themselves; the other 68 (controls, space,
//! 0x7F..=0xA0, 0xAD) become U+0100 and up, in order (`bytes_to_unicode` of OpenAI's gpt-2).

/// The character that byte `byte` is written as.
pub(super) fn letter(byte: u8) -> char {
    let shifted = match byte {
        0x00..=0x20 => u32::from(byte),
        0x7F..=0xA0 => u32::from(byte) - 0x7F + 0x21,
        0xAD => 0x43,
        _ => return char::from(byte),
    };
    char::from_u32(0x100 + shifted).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that is written as `letter`, if one is.
pub(super) fn byte(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    let byte = match code {
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_letter() {
        let letters: std::collections::BTreeSet<char> = (0..=255).map(letter).collect();
        assert_eq!(letters.len(), 256);
        assert!((0..=255).all(|b| byte(letter(b)) == Some(b)));
        assert_eq!((letter(b' '), letter(b'\n'), letter(0xAD)), ('Ġ', 'Ċ', 'Ń'));
        assert_eq!(byte('€'), None);
        assert_eq!(byte(' '), None);
    }
}
