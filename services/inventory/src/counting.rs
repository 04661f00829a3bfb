//! Reports of what is wrong with stock, and counts against the ledger: what they ask to correct. Pure.

/// What is wrong with stock (INV-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueKind {
    /// Units cannot be sold.
    Damaged,
    /// Units are not where they should be.
    Missing,
    /// Units of another product left instead.
    MisPick,
}

impl IssueKind {
    /// Number in the contract and the database.
    pub const fn code(self) -> i16 {
        match self {
            Self::Damaged => 1,
            Self::Missing => 2,
            Self::MisPick => 3,
        }
    }

    /// The kind of a number.
    pub const fn of(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Damaged),
            2 => Some(Self::Missing),
            3 => Some(Self::MisPick),
            _ => None,
        }
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueState {
    /// Waits for approval.
    Pending,
    /// Stock was corrected.
    Approved,
    /// Stock stayed as it was.
    Rejected,
}

impl IssueState {
    /// Number in the contract and the database.
    pub const fn code(self) -> i16 {
        match self {
            Self::Pending => 1,
            Self::Approved => 2,
            Self::Rejected => 3,
        }
    }

    /// The state of a number.
    pub const fn of(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Pending),
            2 => Some(Self::Approved),
            3 => Some(Self::Rejected),
            _ => None,
        }
    }
}

/// Changes of on_hand that a report asks for: a wrong pick left its own product there and took the other.
pub fn corrections(kind: IssueKind, sku: &str, picked: &str, quantity: i32) -> Vec<(String, i32)> {
    match kind {
        IssueKind::Damaged | IssueKind::Missing => vec![(sku.to_owned(), -quantity)],
        IssueKind::MisPick => vec![(sku.to_owned(), quantity), (picked.to_owned(), -quantity)],
    }
}

/// One product of a count.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Count {
    /// The product.
    pub sku: String,
    /// Units that the warehouse counted.
    pub observed: i32,
    /// Units of the ledger at that moment.
    pub expected: i32,
    /// Units of it were taken out shortly before and may have been counted all the same.
    pub leaving: bool,
}

/// How well a count agrees with the ledger (INV-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accuracy {
    /// Products compared.
    pub compared: i32,
    /// Products whose figures agree.
    pub matched: i32,
    /// Share in millionths, rounded down; of nothing compared, all of it.
    pub ppm: i32,
}

/// Share that is aimed at, in millionths: 99.5 %.
pub const AIM_PPM: i32 = 995_000;

/// The share of products whose figures agree.
pub fn accuracy<'a>(counts: impl IntoIterator<Item = &'a Count>) -> Accuracy {
    let (mut compared, mut matched) = (0_usize, 0_usize);
    for count in counts {
        compared += 1;
        matched += usize::from(count.observed == count.expected);
    }
    let ppm = (matched * 1_000_000).checked_div(compared).unwrap_or(1_000_000);
    let fits = |figure: usize| i32::try_from(figure).unwrap_or(i32::MAX);
    Accuracy { compared: fits(compared), matched: fits(matched), ppm: fits(ppm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(observed: i32, expected: i32) -> Count {
        Count { sku: "A".to_owned(), observed, expected, leaving: false }
    }

    #[test]
    fn inv_10_accuracy_is_the_share_of_products_that_agree() {
        let mut counts: Vec<Count> = (0..199).map(|n| count(n, n)).collect();
        counts.push(count(3, 4));
        assert_eq!(accuracy(&counts), Accuracy { compared: 200, matched: 199, ppm: AIM_PPM });
        assert_eq!(accuracy(&[]).ppm, 1_000_000);
        assert_eq!(accuracy(&[count(0, 1)]).ppm, 0);
    }

    #[test]
    fn inv_12_each_kind_of_report_asks_for_its_own_correction() {
        assert_eq!(corrections(IssueKind::Damaged, "A", "", 3), [("A".to_owned(), -3)]);
        assert_eq!(corrections(IssueKind::Missing, "A", "", 2), [("A".to_owned(), -2)]);
        let wrong = corrections(IssueKind::MisPick, "A", "B", 1);
        assert_eq!(wrong, [("A".to_owned(), 1), ("B".to_owned(), -1)]);
        for code in 1..=3 {
            assert_eq!(IssueKind::of(code).map(IssueKind::code), Some(code));
            assert_eq!(IssueState::of(code).map(IssueState::code), Some(code));
        }
    }
}
