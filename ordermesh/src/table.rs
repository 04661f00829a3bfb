use std::fmt::Write as _;

/// Lines up rows under their headings, two blanks apart; figures to the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths = (0..headings.len()).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    let headings = headings.iter().map(|&heading| heading.to_owned()).collect::<Vec<_>>();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let figure = cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains(':');
            let _infallible = if figure { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An amount of the REST edge in words: `{"currencyCode":"USD","amountMinor":"1299"}` is "12.99 USD".
pub fn money(amount: &serde_json::Value) -> String {
    let Some(code) = amount["currencyCode"].as_str().filter(|code| !code.is_empty()) else { return "-".to_owned() };
    let minor = minor(amount);
    let digits = code.parse::<money::Currency>().map_or(2, money::Currency::exponent);
    if digits == 0 {
        return format!("{minor} {code}");
    }
    let unit = 10_i64.pow(digits.into());
    let (sign, whole, rest) = (if minor < 0 { "-" } else { "" }, (minor / unit).abs(), (minor % unit).abs());
    format!("{sign}{whole}.{rest:0width$} {code}", width = digits.into())
}

/// The minor units of such an amount; none is 0.
pub fn minor(amount: &serde_json::Value) -> i64 {
    let value = &amount["amountMinor"];
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{money, table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = table(&["sku", "units"], &[vec!["MUG".into(), "7".into()], vec!["LONGER".into(), "12".into()]]);
        assert_eq!(text, "sku     units\nMUG         7\nLONGER     12\n");
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(money(&json!({"currencyCode": "USD", "amountMinor": "1205"})), "12.05 USD");
        assert_eq!(money(&json!({"currencyCode": "JPY", "amountMinor": "1205"})), "1205 JPY");
        assert_eq!(money(&json!(null)), "-");
    }
}
