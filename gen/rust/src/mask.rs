//! How sensitive values are shown; used by the generated `Debug` impls and by masked views.

/// What stands for a hidden value.
pub const REDACTED: &str = "***";

/// Shortest text of which the last four characters are shown: fewer would give away most of it.
const LAST4_MIN_CHARS: usize = 12;

/// Hides a text as a whole; an empty one stays empty.
pub fn redact(text: &str) -> &'static str {
    if text.is_empty() { "" } else { REDACTED }
}

/// Shows only the last four characters; short texts are hidden as a whole.
pub fn last4(text: &str) -> String {
    let count = text.chars().count();
    if count < LAST4_MIN_CHARS {
        return redact(text).to_owned();
    }
    let last: String = text.chars().skip(count - 4).collect();
    format!("{REDACTED}{last}")
}

/// Shows first letter and domain of an e-mail address; anything else is hidden as a whole.
pub fn email(text: &str) -> String {
    match (text.chars().next(), text.rsplit_once('@')) {
        (Some(first), Some((local, domain))) if !local.is_empty() => format!("{first}{REDACTED}@{domain}"),
        _ => redact(text).to_owned(),
    }
}
