//! An order that no single warehouse can send.

use anyhow::Result;
use testkit::order;

use super::world::{World, list, number, text, total};

#[tokio::test]
async fn inv_05_ful_09_one_line_from_two_warehouses_is_two_parcels_whose_captures_add_up() -> Result<()> {
    let world = World::open("split").await?;
    // Odd cents, so that they must be spread.
    world.product("ODD-333", 333, &[("OAK", 2), ("NJ", 5)]).await?;
    let arrived = world.place_until(&order(&[("ODD-333", 7), ("MUG-BLUE", 1)]), "DELIVERED").await?;
    let parcels = list(&arrived, "shipments");
    let mut from: Vec<&str> = parcels.iter().map(|parcel| text(parcel, "warehouse")).collect();
    from.sort_unstable();
    assert_eq!(from, ["NJ", "OAK"]);
    world.until_captured(text(&arrived, "id"), total(&arrived)).await?;
    let moves = world.money_moves(text(&arrived, "id")).await?;
    let amounts = |op: &str| -> Vec<i64> {
        moves.iter().filter(|line| text(line, "op") == op).map(|line| number(&line["amount"])).collect()
    };
    assert_eq!(amounts("authorize"), [total(&arrived)]);
    let captures = amounts("capture");
    assert_eq!((captures.len(), captures.iter().sum::<i64>()), (2, total(&arrived)));
    assert!(captures.iter().all(|amount| *amount > 0));
    assert_eq!(world.stock("ODD-333", "OAK").await?, (0, 0));
    assert_eq!(world.stock("ODD-333", "NJ").await?, (0, 0));
    world.books_agree().await
}
