//! What the catalog and the warehouses are made of.

use jiff::Timestamp;
use money::Money;
use serde::{Deserialize, Serialize};

/// Something the tenant sells, as somebody wants it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProduct {
    /// Stock keeping unit.
    pub sku: String,
    /// Name shown to people.
    pub display_name: String,
    /// One price per currency, each above zero.
    pub prices: Vec<Money>,
    /// Tax class.
    pub tax_class: String,
    /// Weight of one unit in grams.
    pub weight_grams: i32,
    /// Who may buy it and where.
    pub restrictions: Restrictions,
    /// Goods or resource; none = goods, or what it is already.
    pub kind: Option<ProductKind>,
}

/// Who may buy a product and where; kept for those who sell it (ORD-27).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrictions {
    /// Countries and regions where it is not sold.
    #[serde(default)]
    pub excluded_places: Vec<String>,
    /// Years a buyer must have; 0 = any.
    #[serde(default)]
    pub min_age: i32,
    /// Units that one customer may ever have; 0 = any number.
    #[serde(default)]
    pub max_per_customer: i32,
}

/// What a product is; it stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductKind {
    /// Units that lie in warehouses.
    Goods,
    /// Slots of time, each with a capacity.
    Resource,
}

impl ProductKind {
    /// Number in the contract and the database.
    pub const fn code(self) -> i16 {
        match self {
            Self::Goods => 1,
            Self::Resource => 2,
        }
    }

    /// The kind of a number.
    pub const fn of(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Goods),
            2 => Some(Self::Resource),
            _ => None,
        }
    }
}

/// Something the tenant sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// What it is.
    pub content: NewProduct,
    /// Counts its changes, from 1.
    pub version: i32,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A place that holds stock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Warehouse {
    /// Unique in the tenant.
    pub code: String,
    /// Name shown to people.
    pub display_name: String,
    /// Where parcels leave from.
    pub address: Address,
    /// The lower figure is used first.
    pub priority: i32,
}

/// A postal address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who receives it.
    pub recipient: String,
    /// Street and number.
    pub line1: String,
    /// Flat, floor, company.
    pub line2: String,
    /// City.
    pub city: String,
    /// State or province code.
    pub region: String,
    /// Postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2 code.
    pub country_code: String,
}
