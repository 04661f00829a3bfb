//! A tenant with warehouses, products and stock.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use ctx::{Cause, Ctx};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use fault::Fault;
use ids::{OrderId, ShipmentId, TenantId};
use inventory::{
    Address, AdjustStock, ConsumeReservation, Inventory, NewProduct, Reservation, ReserveStock, Warehouse, seed,
};
use jiff::Timestamp;
use money::Money;
use pg::Pg;
use serve::page::Pages;
use testkit::Db;

pub const HOLD_S: i32 = 900;

/// A shop in a database of its own.
pub struct Shop {
    pub db: Db,
    pub pg: Pg,
    pub inventory: Inventory,
    pub ctx: Ctx,
}

impl Shop {
    /// Warehouses W1, W2, W3 in that order of use, no product yet.
    pub async fn open() -> Result<Self> {
        let db = Db::fresh("inventory", inventory::MIGRATIONS).await?;
        let pg = db.pg("inventory");
        let inventory = Inventory::new(pg.clone(), Pages::new(&"k".repeat(32).into()));
        let shop = Self { db, pg, inventory, ctx: ctx() };
        for (priority, code) in ["W1", "W2", "W3"].into_iter().enumerate() {
            seed::warehouse(&shop.inventory, &shop.ctx, warehouse(code, i32::try_from(priority)?)).await?;
        }
        Ok(shop)
    }

    /// A product with so many units in each of the warehouses W1, W2, ….
    pub async fn stocked(self, sku: &str, units: &[i32]) -> Result<Self> {
        self.add(sku, units).await?;
        Ok(self)
    }

    /// The same, later.
    pub async fn add(&self, sku: &str, units: &[i32]) -> Result<()> {
        seed::product(&self.inventory, &self.ctx, product(sku)).await?;
        for (at, units) in units.iter().enumerate() {
            seed::stock(&self.inventory, &self.ctx, sku, &format!("W{}", at + 1), *units).await?;
        }
        Ok(())
    }

    pub async fn reserve(&self, order: OrderId, lines: &[(&str, i32)], split: bool) -> Result<Reservation, Fault> {
        self.inventory.reserve_stock(&self.ctx, wish(order, lines, HOLD_S, split)).await
    }

    pub async fn consume(
        &self,
        order: OrderId,
        shipment: ShipmentId,
        warehouse: &str,
        lines: &[(&str, i32)],
    ) -> Result<Reservation, Fault> {
        let lines = demand(lines);
        let consume = ConsumeReservation { order, shipment, warehouse: warehouse.to_owned(), lines };
        self.inventory.consume_reservation(&self.ctx, consume).await
    }

    pub async fn adjust(&self, sku: &str, warehouse: &str, delta: i32) -> Result<(), Fault> {
        let (sku, warehouse, reason) = (sku.to_owned(), warehouse.to_owned(), "test".to_owned());
        self.inventory.adjust_stock(&self.ctx, AdjustStock { sku, warehouse, delta, reason }).await.map(drop)
    }

    /// (on_hand, reserved) of a product by warehouse.
    pub async fn levels(&self, sku: &str) -> Result<Vec<(i32, i32)>> {
        let stock = self.inventory.get_stock(&self.ctx, sku).await?;
        Ok(stock.levels.into_iter().map(|level| (level.on_hand, level.reserved)).collect())
    }

    /// Lets time run out for everything that is held.
    pub async fn outlive_holds(&self) -> Result<()> {
        self.sql("UPDATE reservations SET expires_at = now() - interval '1 second' WHERE state = 1").await
    }

    pub async fn sql(&self, statement: &str) -> Result<()> {
        let mut conn = self.db.admin().await?;
        diesel::sql_query("SET search_path = om_inventory").execute(&mut conn).await?;
        diesel::sql_query(statement).execute(&mut conn).await?;
        Ok(())
    }

    /// A figure that a statement counts, of whatever tenant.
    pub async fn count(&self, statement: &str) -> Result<i64> {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            n: i64,
        }
        let mut conn = self.db.admin().await?;
        diesel::sql_query("SET search_path = om_inventory").execute(&mut conn).await?;
        Ok(diesel::sql_query(statement).get_result::<Count>(&mut conn).await?.n)
    }

    /// Rows of stock that differ from the sum of their ledger, or from what open reservations hold.
    pub async fn drift(&self) -> Result<i64> {
        self.count(
            "SELECT count(*) AS n FROM stock s
             LEFT JOIN LATERAL (SELECT sum(d_on_hand) AS h, sum(d_reserved) AS r FROM stock_ledger l
               WHERE l.tenant_id = s.tenant_id AND l.sku = s.sku AND l.warehouse = s.warehouse) l ON true
             LEFT JOIN LATERAL (SELECT sum(a.quantity - a.consumed) AS open FROM allocations a
               JOIN reservations r USING (tenant_id, order_id)
               WHERE r.state IN (1, 2, 3, 6) AND a.tenant_id = s.tenant_id AND a.sku = s.sku
                 AND a.warehouse = s.warehouse) a ON true
             WHERE s.on_hand <> coalesce(l.h, 0) OR s.reserved <> coalesce(l.r, 0) OR s.reserved <> coalesce(a.open, 0)",
        )
        .await
    }
}

pub fn ctx() -> Ctx {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let correlation_id = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let cause = Cause { correlation_id, ..Cause::default() };
    Ctx::service("test", TenantId::new(), cause, Timestamp::now())
}

pub fn wish(order: OrderId, lines: &[(&str, i32)], hold_s: i32, split: bool) -> ReserveStock {
    ReserveStock { order, demand: demand(lines), round: 1, hold_s, split }
}

pub fn demand(lines: &[(&str, i32)]) -> Vec<inventory::Demand> {
    inventory::sum(lines.iter().map(|(sku, units)| ((*sku).to_owned(), *units))).expect("a small sum")
}

pub fn product(sku: &str) -> NewProduct {
    NewProduct {
        restrictions: Default::default(),
        sku: sku.to_owned(),
        display_name: format!("Product {sku}"),
        prices: vec![Money::new("USD".parse().expect("a currency"), 1_999)],
        tax_class: "standard".to_owned(),
        weight_grams: 250,
        kind: None,
    }
}

pub fn warehouse(code: &str, priority: i32) -> Warehouse {
    let text = |text: &str| text.to_owned();
    Warehouse {
        code: text(code),
        display_name: format!("Warehouse {code}"),
        address: Address {
            recipient: text("Dock"),
            line1: text("1 Main St"),
            line2: text(""),
            city: text("Reno"),
            region: text("NV"),
            postal_code: text("89501"),
            country_code: text("US"),
        },
        priority,
    }
}
