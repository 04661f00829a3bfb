//! Any history of commands keeps the books (INV-09): the decisions of `stock.rs` and `reservation.rs` on a book of plain
//! numbers that does what the database does.

use std::collections::BTreeMap;

use ids::{FulfillmentId, OrderId, ReservationId};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::counting::{IssueKind, corrections};
use crate::reservation::{Allocation, Release, Reservation, State, Step};
use crate::stock::{Level, Pool, sum};
use crate::store::StockLevel;

type Place = (String, String);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Figures {
    on_hand: i32,
    reserved: i32,
    safety: i32,
}

/// Stock, its ledger and the reservations.
#[derive(Default)]
struct Book {
    stock: BTreeMap<Place, Figures>,
    ledger: Vec<(Place, i32, i32)>,
    orders: BTreeMap<usize, Reservation>,
    units: Units,
}

/// Units that went each way, over all reservations that ever were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Units {
    reserved: i32,
    consumed: i32,
    released: i32,
    expired: i32,
}

#[derive(Debug, Clone)]
enum Command {
    Adjust { sku: usize, warehouse: usize, delta: i32 },
    Safety { sku: usize, warehouse: usize, units: i32 },
    Transfer { sku: usize, from: usize, to: usize, units: i32 },
    Report { kind: IssueKind, sku: usize, picked: usize, warehouse: usize, units: i32 },
    Reserve { order: usize, lines: Vec<(usize, i32)>, split: bool },
    Confirm { order: usize },
    Allocate { order: usize, warehouse: usize },
    Consume { order: usize, sku: usize, warehouse: usize, units: i32 },
    Release { order: usize },
    Expire { order: usize },
}

fn command() -> impl Strategy<Value = Command> {
    let (sku, warehouse, order, units) = (0_usize..3, 0_usize..3, 0_usize..6, 1_i32..9);
    let kind = prop_oneof![Just(IssueKind::Damaged), Just(IssueKind::Missing), Just(IssueKind::MisPick)];
    let lines = prop::collection::vec((0_usize..3, 1_i32..6), 1..4);
    prop_oneof![
        3 => (sku.clone(), warehouse.clone(), -9_i32..20).prop_map(|(sku, warehouse, delta)| Command::Adjust {
            sku, warehouse, delta
        }),
        1 => (sku.clone(), warehouse.clone(), 0_i32..9).prop_map(|(sku, warehouse, units)| Command::Safety {
            sku, warehouse, units
        }),
        2 => (sku.clone(), warehouse.clone(), 0_usize..3, units.clone())
            .prop_map(|(sku, from, to, units)| Command::Transfer { sku, from, to, units }),
        1 => (kind, sku.clone(), 0_usize..3, warehouse.clone(), units.clone())
            .prop_map(|(kind, sku, picked, warehouse, units)| Command::Report { kind, sku, picked, warehouse, units }),
        5 => (order.clone(), lines, any::<bool>())
            .prop_map(|(order, lines, split)| Command::Reserve { order, lines, split }),
        3 => order.clone().prop_map(|order| Command::Confirm { order }),
        2 => (order.clone(), warehouse.clone()).prop_map(|(order, warehouse)| Command::Allocate { order, warehouse }),
        3 => (order.clone(), sku, warehouse, units)
            .prop_map(|(order, sku, warehouse, units)| Command::Consume { order, sku, warehouse, units }),
        2 => order.clone().prop_map(|order| Command::Release { order }),
        1 => order.prop_map(|order| Command::Expire { order }),
    ]
}

fn place(sku: usize, warehouse: usize) -> Place {
    (format!("S{sku}"), format!("W{warehouse}"))
}

impl Book {
    /// Writes a change and its line unless a promise forbids it, as `adjust_stock` does.
    fn change(&mut self, place: &Place, d_on_hand: i32, d_reserved: i32) -> bool {
        let figures = self.stock.entry(place.clone()).or_default();
        let next = Figures {
            on_hand: figures.on_hand + d_on_hand,
            reserved: figures.reserved + d_reserved,
            safety: figures.safety,
        };
        if next.reserved < 0 || next.reserved > next.on_hand {
            return false;
        }
        *figures = next;
        self.ledger.push((place.clone(), d_on_hand, d_reserved));
        true
    }

    fn pool(&self) -> Pool {
        Pool::new(self.stock.iter().map(|((sku, warehouse), figures)| Level {
            sku: sku.clone(),
            warehouse: warehouse.clone(),
            free: figures.on_hand - figures.reserved - figures.safety,
        }))
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Adjust { sku, warehouse, delta } => drop(self.change(&place(sku, warehouse), delta, 0)),
            Command::Safety { sku, warehouse, units } => {
                self.stock.entry(place(sku, warehouse)).or_default().safety = units;
            }
            Command::Transfer { sku, from, to, units } => {
                if from != to && self.change(&place(sku, from), -units, 0) {
                    assert!(self.change(&place(sku, to), units, 0), "what left one warehouse arrives");
                }
            }
            Command::Report { kind, sku, picked, warehouse, units } => {
                self.report(kind, (sku, picked), warehouse, units)
            }
            Command::Reserve { order, lines, split } => self.reserve(order, lines, split),
            Command::Confirm { order } => {
                let found = self.orders.get_mut(&order).filter(|it| it.confirm() == Step::Go);
                if let Some(it) = found {
                    it.state = State::Confirmed;
                }
            }
            Command::Allocate { order, warehouse } => {
                let next =
                    self.orders.get(&order).map(|it| it.allocate(&format!("W{warehouse}"), FulfillmentId::new()));
                if let Some(Ok(Some(next))) = next {
                    self.orders.insert(order, next);
                }
            }
            Command::Consume { order, sku, warehouse, units } => self.consume(order, &place(sku, warehouse), units),
            Command::Release { order } => self.end(order, State::Released),
            Command::Expire { order } => {
                if self.orders.get(&order).is_some_and(|it| it.state == State::Held) {
                    self.end(order, State::Expired);
                }
            }
        }
    }

    fn report(&mut self, kind: IssueKind, (sku, picked): (usize, usize), warehouse: usize, units: i32) {
        if kind == IssueKind::MisPick && sku == picked {
            return;
        }
        let changes = corrections(kind, &format!("S{sku}"), &format!("S{picked}"), units);
        let warehouse = format!("W{warehouse}");
        let before = (self.stock.clone(), self.ledger.clone());
        let all = changes.into_iter().all(|(sku, delta)| self.change(&(sku, warehouse.clone()), delta, 0));
        if !all {
            (self.stock, self.ledger) = before;
        }
    }

    fn reserve(&mut self, order: usize, lines: Vec<(usize, i32)>, split: bool) {
        if self.orders.get(&order).is_some_and(|it| it.state != State::Expired) {
            return;
        }
        let demand = sum(lines.into_iter().map(|(sku, units)| (format!("S{sku}"), units))).expect("small");
        let Ok(takes) = self.pool().take(&demand, split) else { return };
        for take in &takes {
            let set_aside = self.change(&(take.sku.clone(), take.warehouse.clone()), 0, take.quantity);
            assert!(set_aside, "a plan never takes what is not there");
            self.units.reserved += take.quantity;
        }
        let reservation = Reservation {
            id: ReservationId::new(),
            order: OrderId::new(),
            state: State::Held,
            version: 1,
            round: 1,
            expires_at: Timestamp::UNIX_EPOCH,
            allocations: takes.into_iter().map(Allocation::from).collect(),
            called_off: Vec::new(),
        };
        self.orders.insert(order, reservation);
    }

    fn consume(&mut self, order: usize, place: &Place, units: i32) {
        let Some(it) = self.orders.get(&order).filter(|it| it.consume() == Step::Go).cloned() else { return };
        let lines = sum([(place.0.clone(), units)]).expect("small");
        if it.leave(&place.1, &lines).is_ok() {
            assert!(self.change(place, -units, -units), "what is set aside is there");
            self.units.consumed += units;
            self.orders.insert(order, it.after_leaving(&place.1, &lines));
        }
    }

    fn end(&mut self, order: usize, to: State) {
        let Some(it) = self.orders.get(&order).filter(|it| it.release() == Release::GiveBack).cloned() else { return };
        for a in it.allocations.iter().filter(|a| a.consumed < a.quantity) {
            let place = (a.sku.clone(), a.warehouse.clone());
            assert!(self.change(&place, 0, a.consumed - a.quantity), "what was set aside is given back");
            let back = a.quantity - a.consumed;
            *(if to == State::Expired { &mut self.units.expired } else { &mut self.units.released }) += back;
        }
        self.orders.insert(order, Reservation { state: to, ..it });
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (place, figures) in &self.stock {
            let lines = self.ledger.iter().filter(|(at, ..)| at == place);
            let (on_hand, reserved) = lines.fold((0, 0), |(h, r), (_, dh, dr)| (h + dh, r + dr));
            prop_assert_eq!((on_hand, reserved), (figures.on_hand, figures.reserved), "the ledger is the stock");
            prop_assert!(0 <= figures.reserved && figures.reserved <= figures.on_hand, "{place:?} {figures:?}");
            let Figures { on_hand, reserved, safety } = *figures;
            let level = StockLevel { warehouse: place.1.clone(), on_hand, reserved, safety };
            prop_assert_eq!(level.available(), (on_hand - reserved - safety).max(0), "never below nothing");
            let open = self
                .orders
                .values()
                .filter(|it| matches!(it.state, State::Held | State::Confirmed | State::Allocated | State::Consumed));
            let parts = open.flat_map(|it| &it.allocations).filter(|a| (&a.sku, &a.warehouse) == (&place.0, &place.1));
            prop_assert_eq!(parts.map(|a| a.quantity - a.consumed).sum::<i32>(), figures.reserved, "promises are kept");
        }
        let Units { reserved, consumed, released, expired } = self.units;
        let open: i32 = self.stock.values().map(|figures| figures.reserved).sum();
        prop_assert_eq!(consumed + released + expired + open, reserved, "no promised unit is lost or made");
        Ok(())
    }

    /// Gives back whatever is still promised.
    fn close(&mut self) {
        for order in self.orders.keys().copied().collect::<Vec<_>>() {
            self.end(order, State::Released);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn inv_09_after_any_of_ten_thousand_histories_the_ledger_is_the_stock(
        commands in prop::collection::vec(command(), 1..40),
    ) {
        let mut book = Book::default();
        for command in commands {
            book.run(command);
            book.check()?;
        }
        book.close();
        book.check()?;
        prop_assert!(book.stock.values().all(|figures| figures.reserved == 0), "all promises are kept or given back");
    }
}
