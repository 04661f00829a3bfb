//! The time in an id: the first 48 bits of a UUIDv7 are its milliseconds (RFC 9562), so a span of time is a range of ids.

use jiff::Timestamp;
use uuid::Uuid;

/// The least id that can have been made at a moment; before 1970 the least of all.
pub fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0).min((1 << 48) - 1);
    Uuid::from_u128(u128::from(millis) << 80)
}

/// When an id was made; None for one without a time.
pub fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_span_lie_between_its_first_ids() {
        let before = Timestamp::now();
        let id = Uuid::now_v7();
        let after = Timestamp::now() + jiff::SignedDuration::from_millis(1);
        assert!(first_id(before) <= id && id < first_id(after));
        let made = made_at(id).expect("it has a time");
        assert!(before.as_millisecond() <= made.as_millisecond() && made < after);
        assert_eq!(made_at(Uuid::nil()), None);
        assert_eq!(first_id(Timestamp::MIN), Uuid::nil());
        assert_eq!(
            first_id(Timestamp::MAX).as_u128() >> 80,
            u128::from(Timestamp::MAX.as_millisecond().unsigned_abs())
        );
    }
}
