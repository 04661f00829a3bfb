use super::Payment;

impl Payment {
    /// One of our refunds that had come through came back: the sum may be given back again.
    #[must_use]
    pub fn came_back(&self, minor: i64) -> Self {
        let own = self.refunded_own - minor;
        let (refunded, returned) = ((self.refunded - minor).max(own), self.refund_returned + minor);
        Self { refunded_own: own, refunded, refund_returned: returned, ..self.clone() }
    }
}
