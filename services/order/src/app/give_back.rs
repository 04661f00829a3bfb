//! Money that was taken when the order was placed, of an order that became cheaper before a warehouse began with it
//! (PAY-02, `domain.md` 4.5 Change).

use contract::common::v1::Money;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{GetPaymentRequest, Payment, RefundPaymentRequest};
use fault::{Fault, Kind};
use saga::{Outcome, Run};

use crate::app::place_saga::Steps;
use crate::domain::order::Order;

impl Steps {
    /// Gives back what was taken above the order's total; nothing while the money is only held.
    ///
    /// # Errors
    /// Another try while payment does not answer; a person when the money is not given back.
    pub(super) async fn give_back_difference(&self, run: &Run, order: &Order) -> Result<(), Outcome> {
        let known = order.doc.payment.as_ref().filter(|_| order.was_changed());
        let Some(payment_id) = known.map(|payment| payment.payment_id.clone()) else { return Ok(()) };
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        let request = GetPaymentRequest { payment_id: payment_id.clone() };
        let payment = client.get_payment(self.peers.request(&run.ctx, request)).await.map_err(not_yet)?.into_inner();
        let costs = minor(order.doc.totals.as_ref().and_then(|totals| totals.total.as_ref()));
        let Some(amount) = too_much(&payment, costs) else { return Ok(()) };
        let reason = "the order became cheaper".to_owned();
        let request = RefundPaymentRequest { payment_id, amount: Some(amount), reason };
        // Named by what is to be left, so that a refund without an outcome is asked for again, not made twice.
        let key = format!("{}:{costs}", run.key);
        client.refund_payment(self.peers.request_keyed(&run.ctx, &key, request)).await.map_err(not_yet)?;
        Ok(())
    }
}

fn too_much(payment: &Payment, costs: i64) -> Option<Money> {
    let taken = minor(payment.captured.as_ref()).saturating_sub(minor(payment.refunded.as_ref()));
    let captured = payment.captured.as_ref()?;
    (taken > costs).then(|| Money { amount_minor: taken - costs, ..captured.clone() })
}

fn minor(money: Option<&Money>) -> i64 {
    money.map_or(0, |money| money.amount_minor)
}

fn not_yet(status: tonic::Status) -> Outcome {
    let fault = Fault::from(status);
    match fault.kind() {
        Kind::Precondition | Kind::Invalid | Kind::Denied => Outcome::Attention { reason: fault.to_string() },
        _ => Outcome::Retry { reason: fault.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_above_the_total_goes_back_once() {
        let money = |amount_minor| Some(Money { currency_code: "USD".to_owned(), amount_minor });
        let paid = |captured, refunded| Payment { captured, refunded, ..Payment::default() };
        assert_eq!(too_much(&paid(money(1000), money(0)), 700), money(300));
        assert_eq!(too_much(&paid(money(1000), money(300)), 700), None);
        assert_eq!(too_much(&paid(money(1000), money(100)), 700), money(200));
        assert_eq!(too_much(&paid(money(0), money(0)), 700), None);
        assert_eq!(too_much(&paid(None, None), 700), None);
    }
}
