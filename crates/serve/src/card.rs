//! Card numbers never belong in a request (PAY-05, PCI DSS): providers' tokens stand for them.
//!
//! The stack refuses every request that holds one, whatever the method, before anything of it is stored or logged.

use std::borrow::Cow;

use fault::Fault;

/// Digits of a card number (ISO/IEC 7812, and older cards of 13).
const LENGTHS: std::ops::RangeInclusive<usize> = 13..=19;
/// Characters of a UUID with its hyphens.
const UUID: usize = 36;
/// How deep messages are looked into.
const DEEPEST: u32 = 16;

/// Refuses a card number; the number itself is not repeated.
pub fn refusal(field: &str) -> Fault {
    Fault::invalid(field, "CARD_NUMBER_REFUSED", "card numbers are not accepted anywhere, only tokens")
}

/// Whether a text holds what looks like a card number: 13 to 19 digits, however grouped, that pass the Luhn check.
///
/// Digits that touch a letter belong to an id, so do those of a UUID, and 13 digits with a barcode's check digit are a
/// barcode (EAN-13).
pub fn in_text(text: &str) -> bool {
    let text = without_uuids(text);
    let (mut run, mut grouped, mut sticks) = (Vec::new(), false, false);
    let mut before = ' ';
    // The stop at the end closes the last run.
    for c in text.chars().chain(['.', '.']) {
        match c.to_digit(10) {
            Some(digit) => {
                if run.is_empty() {
                    sticks = before.is_ascii_alphabetic();
                }
                grouped |= !run.is_empty() && is_separator(before);
                run.push(digit);
            }
            None if is_separator(c) && !is_separator(before) && !run.is_empty() => {}
            None => {
                if !run.is_empty() {
                    let ends_in_id = before.is_ascii_digit() && c.is_ascii_alphabetic();
                    if !sticks && !ends_in_id && is_card(&run, grouped) {
                        return true;
                    }
                    run.clear();
                    grouped = false;
                }
            }
        }
        before = c;
    }
    false
}

/// One random UUID in some ten thousand has a run of digits that could be a card's.
fn without_uuids(text: &str) -> Cow<'_, str> {
    let mut left = Cow::Borrowed(text);
    let is_uuid = |word: &[u8]| word[8] == b'-' && word[13] == b'-' && uuid::Uuid::try_parse_ascii(word).is_ok();
    while let Some(at) = left.as_bytes().windows(UUID).position(is_uuid) {
        left.to_mut().replace_range(at..at + UUID, "|");
    }
    left
}

/// Whether the bytes of a protobuf message hold a card number in any text or number, however deep.
pub fn in_message(bytes: &[u8]) -> bool {
    visit(bytes, 0).unwrap_or(false)
}

/// None when the bytes are no message.
fn visit(mut bytes: &[u8], depth: u32) -> Option<bool> {
    let mut found = false;
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            _ if tag >> 3 == 0 => return None,
            0 => found |= is_card_as_number(varint(&mut bytes)?),
            1 => {
                skip(&mut bytes, 8)?;
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inside = skip(&mut bytes, length)?;
                found |= std::str::from_utf8(inside).is_ok_and(in_text);
                found |= depth < DEEPEST && visit(inside, depth + 1).unwrap_or(false);
            }
            5 => {
                skip(&mut bytes, 4)?;
            }
            _ => return None,
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (shift * 7).min(63);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (inside, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(inside)
}

fn is_card_as_number(value: u64) -> bool {
    // Fewer than 13 digits.
    value >= 1_000_000_000_000 && in_text(&value.to_string())
}

fn is_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '-' | '.' | '/' | '\t' | '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{2010}' | '\u{2011}' | '\u{2013}'
    )
}

fn is_card(digits: &[u32], grouped: bool) -> bool {
    // Industries 2 to 6 issue payment cards; times in milliseconds and parcel numbers begin otherwise.
    LENGTHS.contains(&digits.len())
        && (2..=6).contains(&digits[0])
        && luhn(digits)
        && (grouped || digits.len() != 13 || !is_barcode(digits))
}

fn luhn(digits: &[u32]) -> bool {
    let weighted = digits.iter().rev().enumerate().map(|(at, digit)| match digit * (1 + at as u32 % 2) {
        doubled @ 10.. => doubled - 9,
        single => single,
    });
    weighted.sum::<u32>() % 10 == 0
}

fn is_barcode(digits: &[u32]) -> bool {
    digits.iter().enumerate().map(|(at, digit)| digit * if at % 2 == 0 { 1 } else { 3 }).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pay_05_card_numbers_are_seen_in_any_grouping() {
        for number in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "5555-5555-5555-4444",
            "4242.4242.4242.4242",
            "4242\u{a0}4242\u{a0}4242\u{a0}4242",
            "card 378282246310005!",
            "3782 822463 10005",
            "4222222222222",
            "6011111111111117, thanks",
            "4242424242424242 please",
            "pm_4242424242424242",
            "\"4242424242424242\"",
            "4242-4242-4242-4242 of 42424242-4242-4242-b242-42424242424f",
        ] {
            assert!(in_text(number), "{number}");
        }
    }

    #[test]
    fn tokens_ids_barcodes_times_and_parcels_pass() {
        for text in [
            "pm_sim_visa",
            "pm_1MqLiJLkdIwHu7ixUEgbFdYF",
            "4242424242424241",
            "424242",
            "order 20261121, 3 items",
            "ord_01939393a4242424242424242f1234ab",
            "42424242-4242-4242-b242-42424242424f",
            "/api/v1/keys/42424242-4242-4242-b242-42424242424f",
            "1700000000000",
            "4006381333931",
            "794600000001",
            "+49 30 1234567",
            "",
        ] {
            assert!(!in_text(text), "{text}");
        }
    }

    #[test]
    fn pay_05_messages_are_looked_into_however_deep() {
        let field =
            |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat();
        let card = b"please use 4242-4242-4242-4242, it is the company's";
        assert!(in_message(&field(6, card)));
        let deep = [field(1, b"fine"), field(2, &field(3, &field(4, card)))].concat();
        assert!(in_message(&deep));
        let mut number = vec![8];
        let mut value = 4_242_424_242_424_242_u64;
        while value > 0x7f {
            number.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        number.push(u8::try_from(value).expect("the rest"));
        assert!(in_message(&number));
        assert!(!in_message(&field(2, &field(3, b"pm_sim_visa"))));
        assert!(!in_message(b"\x0a\xff"), "what is no message is somebody else's to refuse");
    }
}
