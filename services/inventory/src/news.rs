//! What is told of stock that changed (INV-06, INV-07, INV-08). Pure.

/// Whether a product may be bought now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Enough is there.
    InStock,
    /// Something is there, less than the threshold.
    LowStock,
    /// Nothing is there.
    OutOfStock,
}

impl Availability {
    /// Of so many units under the tenant's threshold.
    pub const fn of(available: i32, threshold: i32) -> Self {
        match available {
            ..=0 => Self::OutOfStock,
            some if some < threshold => Self::LowStock,
            _ => Self::InStock,
        }
    }
}

/// What was last told of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// It was below the threshold.
    pub low: bool,
    /// Nothing was there.
    pub sold_out: bool,
}

/// When stock is low, and what is suggested then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Fewer units than this are low.
    pub low_stock_threshold: i32,
    /// The suggestion fills up to this.
    pub reorder_up_to: i32,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// The product fell below the threshold: units to order.
    pub low: Option<i32>,
    /// It was sold out and is not any more.
    pub back: bool,
    /// What is told from now on.
    pub told: Told,
}

/// Compares what was told with what is there.
///
/// A product that was never told of counts as well stocked: the first delivery of too little is said once.
pub fn look(told: Told, available: i32, settings: Settings) -> News {
    let low = available < settings.low_stock_threshold;
    let sold_out = available <= 0;
    News {
        low: (low && !told.low).then(|| settings.reorder_up_to.saturating_sub(available).max(0)),
        back: told.sold_out && !sold_out,
        told: Told { low, sold_out },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Settings = Settings { low_stock_threshold: 10, reorder_up_to: 30 };

    #[test]
    fn inv_07_crossing_the_threshold_downward_is_said_once_until_it_recovers() {
        let mut told = Told::default();
        let mut said = Vec::new();
        for available in [12, 10, 9, 8, 0, 3, 9, 10, 9, 40, 2] {
            let news = look(told, available, TEN);
            said.extend(news.low.map(|units| (available, units)));
            told = news.told;
        }
        assert_eq!(said, [(9, 21), (9, 21), (2, 28)]);
    }

    #[test]
    fn inv_07_a_product_is_back_only_after_it_was_sold_out() {
        let mut told = Told::default();
        let mut back = Vec::new();
        for available in [5, 0, 0, 1, 4, 0, 20] {
            let news = look(told, available, TEN);
            back.extend(news.back.then_some(available));
            told = news.told;
        }
        assert_eq!(back, [1, 20]);
    }

    #[test]
    fn inv_08_availability_is_a_word_for_the_figure() {
        let words = [-1, 0, 1, 9, 10].map(|available| Availability::of(available, 10));
        use Availability::{InStock, LowStock, OutOfStock};
        assert_eq!(words, [OutOfStock, OutOfStock, LowStock, LowStock, InStock]);
    }
}
