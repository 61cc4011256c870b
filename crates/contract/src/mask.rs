use std::borrow::Cow;

/// Digits from which on a text is taken for a phone number: what E.164 numbers have at least.
const DIGITS_MIN: usize = 7;
/// What stands for a number that is not shown.
const MASK: &str = "***";

/// The text without the phone numbers in it, so that a message that quotes what it was sent
/// repeats none: what follows a plus, and what stands in quotes and is digits alone. Ids and
/// counts stay as they are.
pub(crate) fn without_numbers(text: &str) -> Cow<'_, str> {
    // Most messages quote nothing.
    if text.bytes().filter(u8::is_ascii_digit).count() < DIGITS_MIN {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['+', '`', '"']) {
        let (before, from) = rest.split_at(at);
        let (mark, after) = from.split_at(1);
        let end = after.find(|c| !is_of_number(c)).unwrap_or(after.len());
        let closed = mark == "+" || after[end..].starts_with(mark);
        shown.push_str(before);
        shown.push_str(mark);
        rest = after;
        if closed && is_number(&after[..end]) {
            shown.push_str(MASK);
            rest = &after[end..];
        }
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The pointer without the phone numbers that stand in it as names.
pub(crate) fn pointer_without_numbers(pointer: &str) -> String {
    let shown = |name: &str| match without_numbers(name) {
        _ if name.chars().all(is_of_number) && is_number(name) => MASK.to_owned(),
        shown => shown.into_owned(),
    };
    pointer.split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// Whether numbers are written with it.
fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '\u{a0}')
}

fn is_number(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() >= DIGITS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked_and_nothing_else_is() {
        for (text, shown) in [
            ("there is no voice `+4915779001`", "there is no voice `***`"),
            ("there is no voice `v+49 157-790 01x`", "there is no voice `v+***x`"),
            (
                "invalid type: string \"4915779001\", expected",
                "invalid type: string \"***\", expected",
            ),
            (
                "invalid type: integer `4915779001`, expected",
                "invalid type: integer `***`, expected",
            ),
            ("it has `+49 (157) 7900-1`, `Ada`", "it has `***`, `Ada`"),
            (
                "+4915***01 stands in row 1000000 already",
                "+4915***01 stands in row 1000000 already",
            ),
            ("4294967296 is not between 1 and 1000000", "4294967296 is not between 1 and 1000000"),
            ("no entry `ent_0199a12345678_149`", "no entry `ent_0199a12345678_149`"),
            ("a quote ` and +4915779001", "a quote ` and +***"),
            ("`123456`", "`123456`"),
            ("`1234567", "`1234567"),
            ("", ""),
        ] {
            let masked = without_numbers(text);
            // A plus in quotes is part of the number.
            assert_eq!(masked, shown, "{text}");
        }
        for (pointer, shown) in [
            ("/entries/999999/to", "/entries/999999/to"),
            ("/entries/3/+4915779001", "/entries/3/***"),
            ("/4915779001", "/***"),
            ("/query/x+4915779001", "/query/x+***"),
        ] {
            assert_eq!(pointer_without_numbers(pointer), shown);
        }
    }
}
