//! Orders accepted per second through REST by clients that send the next as soon as the last is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ordermesh::rest::Rest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;

/// In the answer to an order that was accepted.
const PENDING: &[u8] = br#""state":"ORDER_STATE_PENDING""#;

/// A shop that load goes to.
#[derive(Debug, Clone)]
pub struct Shop {
    /// A customer with a token.
    pub customer: Rest,
    /// SKUs on sale.
    pub skus: Arc<Vec<String>>,
}

impl Shop {
    /// A random order of three lines.
    pub fn order(&self) -> Value {
        let count = self.skus.len();
        let first = rand::random_range(0..count);
        let item = |offset: usize| json!({"sku": self.skus[(first + offset) % count], "quantity": 1});
        json!({
            "items": [item(0), item(1 + count / 3), item(2 * count / 3)],
            "currencyCode": "USD",
            "shippingAddress": {"recipient": "Load Test", "line1": "1 Main Street", "city": "Springfield",
                                "region": "CA", "postalCode": "90001", "countryCode": "US"},
            "paymentMethod": "pm_sim_visa",
        })
    }

    /// Places it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn place(&self) -> Result<Value> {
        self.customer.post("/api/v1/orders", &self.order(), Some(&Uuid::now_v7().to_string())).await
    }
}

/// Accepted orders per second.
///
/// # Errors
/// When an order is refused: a bench that measures refusals measures nothing.
pub async fn accept(shops: &[Shop], clients: usize, time: Duration) -> Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (shop, done) = (shops[client % shops.len()].clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut client = Client::connect(&shop.customer).await?;
                while start.elapsed() < time {
                    let body = shop.order().to_string();
                    let order = client.post("/api/v1/orders", body, &Uuid::now_v7().to_string()).await?;
                    ensure!(
                        order.windows(PENDING.len()).any(|part| part == PENDING),
                        "an order was answered as {}",
                        String::from_utf8_lossy(&order)
                    );
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}
