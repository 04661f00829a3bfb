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
/// What stands before or behind a number, such as its expiry, does not hide it: then groups and first digits must be those
/// of a card. The digits of a UUID and of other ids in hex are nobody's card, and 13 digits with a barcode's check digit
/// are a barcode (EAN-13).
pub fn in_text(text: &str) -> bool {
    let text = without_uuids(text);
    let mut run = Run::default();
    let (mut before, mut word_ends, mut id_ends) = (' ', 0, 0);
    // The mark at the end closes the last run.
    for (at, c) in text.char_indices().chain([(text.len(), '|')]) {
        if at >= word_ends && c.is_ascii_alphanumeric() {
            let rest = &text.as_bytes()[at..];
            let word = rest.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
            word_ends = at + word.len();
            if is_hex_id(word) {
                id_ends = word_ends;
            }
        }
        match c.to_digit(10) {
            Some(digit) if at >= id_ends => run.push(digit, before),
            None if is_separator(c) && before.is_ascii_digit() => {}
            _ => {
                if run.has_card(c) {
                    return true;
                }
                run.clear();
            }
        }
        before = c;
    }
    false
}

/// Groups of digits with one separator between each two.
#[derive(Default)]
struct Run {
    digits: Vec<u32>,
    /// Where each group begins.
    groups: Vec<usize>,
    /// A letter stands directly before it.
    sticks: bool,
}

impl Run {
    fn push(&mut self, digit: u32, before: char) {
        if self.digits.is_empty() {
            self.sticks = before.is_ascii_alphabetic();
        }
        if self.digits.is_empty() || !before.is_ascii_digit() {
            self.groups.push(self.digits.len());
        }
        self.digits.push(digit);
    }

    fn clear(&mut self) {
        self.digits.clear();
        self.groups.clear();
    }

    /// Whether it is a card number, or some of its groups are.
    fn has_card(&self, behind: char) -> bool {
        let alone = !self.sticks && !behind.is_ascii_alphabetic();
        alone && is_card(&self.digits, self.groups.len() > 1)
            || (0..self.groups.len()).any(|first| self.begins_card(first))
    }

    /// Cards are grouped 4-4-4-4, 4-6-5 and the like: whatever else has shorter groups is a list of other things.
    fn begins_card(&self, first: usize) -> bool {
        let from = self.groups[first];
        let mut group = from;
        for end in self.groups[first + 1..].iter().copied().chain([self.digits.len()]) {
            let least = if group == from { 4 } else { 3 };
            if end - group < least || end - from > *LENGTHS.end() {
                return false;
            }
            let digits = &self.digits[from..end];
            if is_issued(digits) && is_card(digits, group > from) {
                return true;
            }
            group = end;
        }
        false
    }
}

/// A span, a UUID, a trace or a digest in hex: they have their lengths, and chance gives some a card's digits.
fn is_hex_id(word: &[u8]) -> bool {
    matches!(word.len(), 16 | 24 | 32 | 40 | 64)
        && word.iter().all(u8::is_ascii_hexdigit)
        && word.iter().any(u8::is_ascii_alphabetic)
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
        ' ' | '-' | '_' | '.' | '/' | '\t' | '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{2010}' | '\u{2011}' | '\u{2013}'
    )
}

fn is_card(digits: &[u32], grouped: bool) -> bool {
    // Industries 2 to 6 issue payment cards; times in milliseconds and parcel numbers begin otherwise.
    LENGTHS.contains(&digits.len())
        && (2..=6).contains(&digits[0])
        && luhn(digits)
        && (grouped || digits.len() != 13 || !is_barcode(digits))
}

/// Whether a scheme issues numbers that begin so and are so long: Visa, Mastercard and Mir, American Express, Diners Club,
/// JCB; Maestro, RuPay, UnionPay and Discover.
fn is_issued(digits: &[u32]) -> bool {
    let first = digits.iter().take(4).fold(0, |number, digit| number * 10 + digit);
    match first {
        4000..=4999 => matches!(digits.len(), 13 | 16 | 19),
        2200..=2204 | 2221..=2720 | 5100..=5599 => digits.len() == 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => matches!(digits.len(), 14 | 16 | 19),
        3528..=3589 | 5000..=5099 | 5600..=5899 => digits.len() >= 16,
        6000..=6099 | 6200..=6299 | 6304 | 6440..=6599 | 6759..=6763 => digits.len() >= 16,
        _ => false,
    }
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
    use jiff::Timestamp;
    use uuid::Builder;

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
    fn pay_05_nothing_before_or_behind_a_card_number_hides_it() {
        for number in [
            "4242 4242 4242 4242 12/27 123",
            "4242424242424242 12/27",
            "4242424242424242 123",
            "4242-4242-4242-4242-1227",
            "12/27 4242424242424242",
            "3 5555 5555 5555 4444 1",
            "3782 822463 10005 12/27 1234",
            "378282246310005/1227",
            "4222222222222 12/27",
            "4242_4242_4242_4242",
            "4242_4242_4242_4242_12_27",
            "card4242424242424242",
            "card4242424242424242cvv123",
            "4242424242424242exp1227",
            "PAN4242 4242 4242 4242",
            "a4242424242424242",
            "SKU4 4242424242424242",
            "01939393a4242424242424242f1234ab 4242424242424242 12/27",
        ] {
            assert!(in_text(number), "{number}");
        }
    }

    #[test]
    fn lists_of_numbers_that_are_no_cards_pass() {
        for text in [
            "20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44",
            "555-123-4567 555-234-5678 555-345-6789 555-456-7890",
            "+44 20 7946 0958, +44 20 7946 0959",
            "2026-11-30 22:38:10.123456789",
            "20261130_223810_4242 20261201_000000_4243",
            "4006381333931 4006381333931 4006381333931",
            "1764542290123-4242",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-a424242424242427-01",
            "GB29NWBK60161331926819",
            "1Z999AA10123456784",
            "0.25 0.50 0.75 1.00 1.25 1.50 1.75 2.00",
        ] {
            assert!(!in_text(text), "{text}");
        }
    }

    #[test]
    fn ids_and_times_are_never_refused() {
        for _ in 0..100_000 {
            let seven = Builder::from_unix_timestamp_millis(rand::random::<u64>() >> 16, &rand::random()).into_uuid();
            let four = Builder::from_random_bytes(rand::random()).into_uuid();
            let time = Timestamp::from_millisecond(rand::random_range(0..253_402_207_200_000)).expect("before 10,000");
            let texts =
                [seven, four].map(|id| format!("{id} ord_{} place-{id}-17 {} {time}", id.simple(), id.simple()));
            for text in texts {
                assert!(!in_text(&text), "{text}");
            }
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
