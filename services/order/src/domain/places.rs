//! Do region and postal code belong together? (ORD-19)
//!
//! Only what the post itself says for whole regions is known: that a letter reaches the street is for the carrier to say.

/// A state of the United States: code, name, first and last of its ZIP codes' first three digits, in pairs.
type State = (&'static str, &'static str, &'static [(u16, u16)]);

/// States, districts, territories and military posts (USPS Publication 65).
const STATES: [State; 59] = [
    ("AA", "Armed Forces Americas", &[(340, 340)]),
    ("AE", "Armed Forces Europe", &[(90, 98)]),
    ("AK", "Alaska", &[(995, 999)]),
    ("AL", "Alabama", &[(350, 369)]),
    ("AP", "Armed Forces Pacific", &[(962, 966)]),
    ("AR", "Arkansas", &[(716, 729)]),
    ("AS", "American Samoa", &[(967, 967)]),
    ("AZ", "Arizona", &[(850, 865)]),
    ("CA", "California", &[(900, 961)]),
    ("CO", "Colorado", &[(800, 816)]),
    ("CT", "Connecticut", &[(60, 69)]),
    ("DC", "District of Columbia", &[(200, 205), (569, 569)]),
    ("DE", "Delaware", &[(197, 199)]),
    ("FL", "Florida", &[(320, 349)]),
    ("GA", "Georgia", &[(300, 319), (398, 399)]),
    ("GU", "Guam", &[(969, 969)]),
    ("HI", "Hawaii", &[(967, 968)]),
    ("IA", "Iowa", &[(500, 528)]),
    ("ID", "Idaho", &[(832, 838)]),
    ("IL", "Illinois", &[(600, 629)]),
    ("IN", "Indiana", &[(460, 479)]),
    ("KS", "Kansas", &[(660, 679)]),
    ("KY", "Kentucky", &[(400, 427)]),
    ("LA", "Louisiana", &[(700, 714)]),
    ("MA", "Massachusetts", &[(10, 27), (55, 55)]),
    ("MD", "Maryland", &[(206, 219)]),
    ("ME", "Maine", &[(39, 49)]),
    ("MI", "Michigan", &[(480, 499)]),
    ("MN", "Minnesota", &[(550, 567)]),
    ("MO", "Missouri", &[(630, 658)]),
    ("MP", "Northern Mariana Islands", &[(969, 969)]),
    ("MS", "Mississippi", &[(386, 397)]),
    ("MT", "Montana", &[(590, 599)]),
    ("NC", "North Carolina", &[(270, 289)]),
    ("ND", "North Dakota", &[(580, 588)]),
    ("NE", "Nebraska", &[(680, 693)]),
    ("NH", "New Hampshire", &[(30, 38)]),
    ("NJ", "New Jersey", &[(70, 89)]),
    ("NM", "New Mexico", &[(870, 884)]),
    ("NV", "Nevada", &[(889, 898)]),
    ("NY", "New York", &[(5, 5), (63, 63), (100, 149)]),
    ("OH", "Ohio", &[(430, 459)]),
    ("OK", "Oklahoma", &[(730, 749)]),
    ("OR", "Oregon", &[(970, 979)]),
    ("PA", "Pennsylvania", &[(150, 196)]),
    ("PR", "Puerto Rico", &[(6, 7), (9, 9)]),
    ("RI", "Rhode Island", &[(28, 29)]),
    ("SC", "South Carolina", &[(290, 299)]),
    ("SD", "South Dakota", &[(570, 577)]),
    ("TN", "Tennessee", &[(370, 385)]),
    ("TX", "Texas", &[(733, 733), (750, 799), (885, 885)]),
    ("UT", "Utah", &[(840, 847)]),
    ("VA", "Virginia", &[(201, 201), (220, 246)]),
    ("VI", "Virgin Islands", &[(8, 8)]),
    ("VT", "Vermont", &[(50, 59)]),
    ("WA", "Washington", &[(980, 994)]),
    ("WI", "Wisconsin", &[(530, 549)]),
    ("WV", "West Virginia", &[(247, 268)]),
    ("WY", "Wyoming", &[(820, 831), (834, 834)]),
];

/// Provinces of Canada with the first letters of their codes.
const PROVINCES: [(&str, &str, &str); 13] = [
    ("AB", "Alberta", "T"),
    ("BC", "British Columbia", "V"),
    ("MB", "Manitoba", "R"),
    ("NB", "New Brunswick", "E"),
    ("NL", "Newfoundland and Labrador", "A"),
    ("NS", "Nova Scotia", "B"),
    ("NT", "Northwest Territories", "X"),
    ("NU", "Nunavut", "X"),
    ("ON", "Ontario", "KLMNP"),
    ("PE", "Prince Edward Island", "C"),
    ("QC", "Quebec", "GHJ"),
    ("SK", "Saskatchewan", "S"),
    ("YT", "Yukon", "Y"),
];

/// What is wrong with a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// No such region in that country; a region that may be meant.
    Region(Option<&'static str>),
    /// Not a code of that country; the same in its form, if that is what is meant.
    PostalCode(Option<String>),
    /// A code of another region; one that it belongs to.
    Mismatch(Option<&'static str>),
}

/// Looks at region and postal code of a country whose post is known; others pass.
///
/// # Errors
/// The first that is wrong, with what may be meant instead.
pub fn check(country: &str, region: &str, code: &str) -> Result<(), Wrong> {
    match country {
        "US" => united_states(region, code),
        "CA" => canada(region, code),
        "DE" => form(code, "00000", |digits| (1_001..=99_998).contains(&digits)),
        "FR" => form(code, "00000", |digits| (1_000..=98_999).contains(&digits)),
        "JP" => form(code, "000-0000", |_| true),
        _ => Ok(()),
    }
}

fn united_states(region: &str, code: &str) -> Result<(), Wrong> {
    let known = STATES.iter().find(|state| state.0 == region);
    let Some(known) = known else {
        let meant = STATES.iter().find(|state| same(state.0, region) || same(state.1, region));
        return Err(Wrong::Region(meant.map(|state| state.0)));
    };
    let (zip, plus) = code.split_once('-').unwrap_or((code, "0000"));
    let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(zip, 5) || !digits(plus, 4) {
        let bare: String = code.chars().filter(char::is_ascii_digit).collect();
        let meant = match bare.len() {
            5 => Some(bare),
            9 => Some(format!("{}-{}", &bare[..5], &bare[5..])),
            _ => None,
        };
        return Err(Wrong::PostalCode(meant));
    }
    let area: u16 = zip[..3].parse().unwrap_or(0);
    let covers = |state: &&State| state.2.iter().any(|(first, last)| (*first..=*last).contains(&area));
    if covers(&known) {
        return Ok(());
    }
    Err(Wrong::Mismatch(STATES.iter().find(covers).map(|state| state.0)))
}

fn canada(region: &str, code: &str) -> Result<(), Wrong> {
    let Some((_, _, letters)) = PROVINCES.iter().find(|province| province.0 == region) else {
        let meant = PROVINCES.iter().find(|province| same(province.0, region) || same(province.1, region));
        return Err(Wrong::Region(meant.map(|province| province.0)));
    };
    let bare: String =
        code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
    let form =
        |(at, letter): (usize, char)| if at % 2 == 0 { letter.is_ascii_uppercase() } else { letter.is_ascii_digit() };
    if bare.len() != 6 || !bare.chars().enumerate().all(form) {
        return Err(Wrong::PostalCode(None));
    }
    let normal = format!("{} {}", &bare[..3], &bare[3..]);
    if normal != code {
        return Err(Wrong::PostalCode(Some(normal)));
    }
    if bare.starts_with(|first| letters.contains(first)) {
        return Ok(());
    }
    let owner = PROVINCES.iter().find(|province| bare.starts_with(|first| province.2.contains(first)));
    Err(Wrong::Mismatch(owner.map(|province| province.0)))
}

/// A code of digits in a form such as "000-0000".
fn form(code: &str, form: &str, allowed: impl Fn(u32) -> bool) -> Result<(), Wrong> {
    let bare: String = code.chars().filter(char::is_ascii_digit).collect();
    let mut digits = bare.chars();
    let normal: String =
        form.chars().map(|place| if place == '0' { digits.next().unwrap_or('?') } else { place }).collect();
    let fits = digits.next().is_none() && !normal.contains('?') && allowed(bare.parse().unwrap_or(0));
    match (fits, normal == code) {
        (true, true) => Ok(()),
        (true, false) => Err(Wrong::PostalCode(Some(normal))),
        (false, _) => Err(Wrong::PostalCode(None)),
    }
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ord_19_region_and_postal_code_must_belong_together() {
        assert_eq!(check("US", "CA", "94105"), Ok(()));
        assert_eq!(check("US", "NY", "06390-1234"), Ok(()));
        assert_eq!(check("US", "WY", "83414"), Ok(()));
        assert_eq!(check("US", "CA", "10001"), Err(Wrong::Mismatch(Some("NY"))));
        assert_eq!(check("CA", "ON", "M5V 3L9"), Ok(()));
        assert_eq!(check("CA", "QC", "M5V 3L9"), Err(Wrong::Mismatch(Some("ON"))));
        assert_eq!(check("DE", "", "10117"), Ok(()));
        assert_eq!(check("JP", "", "100-0001"), Ok(()));
        assert_eq!(check("NZ", "whatever", "?"), Ok(()), "a post that is not known is not judged");
    }

    #[test]
    fn ord_19_what_is_meant_is_said_where_it_can_be_told() {
        assert_eq!(check("US", "California", "94105"), Err(Wrong::Region(Some("CA"))));
        assert_eq!(check("US", " ca ", "94105"), Err(Wrong::Region(Some("CA"))));
        assert_eq!(check("US", "ZZ", "94105"), Err(Wrong::Region(None)));
        assert_eq!(check("US", "CA", "94105 1234"), Err(Wrong::PostalCode(Some("94105-1234".to_owned()))));
        assert_eq!(check("US", "CA", "9410"), Err(Wrong::PostalCode(None)));
        assert_eq!(check("CA", "ON", "m5v3l9"), Err(Wrong::PostalCode(Some("M5V 3L9".to_owned()))));
        assert_eq!(check("CA", "ontario", "M5V 3L9"), Err(Wrong::Region(Some("ON"))));
        assert_eq!(check("DE", "", "D-10117"), Err(Wrong::PostalCode(Some("10117".to_owned()))));
        assert_eq!(check("DE", "", "00000"), Err(Wrong::PostalCode(None)));
        assert_eq!(check("JP", "", "1000001"), Err(Wrong::PostalCode(Some("100-0001".to_owned()))));
        assert_eq!(check("FR", "", "75001x"), Err(Wrong::PostalCode(Some("75001".to_owned()))));
    }

    #[test]
    fn every_state_owns_the_codes_that_it_names() {
        for (code, _, areas) in STATES {
            for (first, last) in areas {
                assert!(first <= last && *last <= 999, "{code}");
                assert_eq!(check("US", code, &format!("{first:03}01")), Ok(()), "{code}");
            }
        }
    }
}
