//! Card numbers never belong in a request (PAY-05): providers' tokens stand for them.

/// Whether a text holds what looks like a card number: 13 to 19 digits, however grouped, that pass the Luhn check.
pub fn holds_card_number(text: &str) -> bool {
    let mut run = Vec::new();
    // A letter at the end closes the last run.
    for c in text.chars().chain(['.']) {
        match c.to_digit(10) {
            Some(digit) => run.push(digit),
            None if matches!(c, ' ' | '-') => {}
            None => {
                if is_card_number(&run) {
                    return true;
                }
                run.clear();
            }
        }
    }
    false
}

fn is_card_number(digits: &[u32]) -> bool {
    (13..=19).contains(&digits.len()) && luhn(digits)
}

fn luhn(digits: &[u32]) -> bool {
    let weighted = digits.iter().rev().enumerate().map(|(at, digit)| match digit * (1 + at as u32 % 2) {
        doubled @ 10.. => doubled - 9,
        single => single,
    });
    weighted.sum::<u32>() % 10 == 0
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
            "card 378282246310005!",
            "pm_4242424242424242",
        ] {
            assert!(holds_card_number(number), "{number}");
        }
    }

    #[test]
    fn tokens_and_other_numbers_pass() {
        for text in
            ["pm_sim_visa", "pm_1MqLiJLkdIwHu7ixUEgbFdYF", "4242424242424241", "424242", "order 20261121, 3 items", ""]
        {
            assert!(!holds_card_number(text), "{text}");
        }
    }
}
