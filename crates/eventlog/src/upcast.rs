use crate::store::Recorded;

/// How events of a type that is no longer written are read as a newer type (EVT-06).
///
/// A type's name carries the version of its contract (`ordermesh.order.v1.…`), so it says alone how the payload reads.
/// Within a version messages only gain fields; one that was written before a field that must be there has an upcast to its
/// own type, which leaves alone what has the field. The rows of the log never change.
#[derive(Debug, Clone, Copy)]
pub struct Upcast {
    /// Full name of the old type.
    pub from: &'static str,
    /// Full name of the newer type, which may have an upcast of its own.
    pub to: &'static str,
    /// Old payload to new payload; None when it is not one of the old type.
    pub change: fn(&[u8]) -> Option<Vec<u8>>,
}

/// The event as the newest type that the table leads to; None when a payload cannot be changed.
pub(crate) fn upcast(table: &[Upcast], mut event: Recorded) -> Option<Recorded> {
    // Each step is taken once at most, so that a table that runs in a circle ends as well.
    for _ in table {
        let Some(step) = table.iter().find(|step| step.from == event.type_name) else { break };
        event.payload = (step.change)(&event.payload)?;
        step.to.clone_into(&mut event.type_name);
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::Meta;

    const TABLE: [Upcast; 2] = [
        Upcast { from: "t.v2.Named", to: "t.v3.Named", change: |name| Some([name, b"!"].concat()) },
        Upcast { from: "t.v1.Named", to: "t.v2.Named", change: |name| Some(name.strip_prefix(b"Mr ")?.to_vec()) },
    ];

    fn event(type_name: &str, payload: &[u8]) -> Recorded {
        Recorded {
            event_id: uuid::Uuid::nil(),
            type_name: type_name.to_owned(),
            version: 7,
            occurred_at: Timestamp::UNIX_EPOCH,
            meta: Meta::default(),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn an_old_event_becomes_the_newest_type_step_by_step() {
        let newest = upcast(&TABLE, event("t.v1.Named", b"Mr Bean"));
        assert_eq!(newest, Some(event("t.v3.Named", b"Bean!")));
    }

    #[test]
    fn an_event_of_a_current_type_stays_as_it_is() {
        assert_eq!(upcast(&TABLE, event("t.v3.Named", b"Bean!")), Some(event("t.v3.Named", b"Bean!")));
    }

    #[test]
    fn a_payload_that_is_not_of_its_type_is_not_guessed_at() {
        assert_eq!(upcast(&TABLE, event("t.v1.Named", b"Bean")), None);
    }
}
