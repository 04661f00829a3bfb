//! What somebody looks for: every wrong criterion is named at once, and nothing is looked for then.

use std::collections::BTreeSet;

use contract::order::v1 as pb;
use fault::{Fault, Violations};
use ids::UserId;
use jiff::Timestamp;
use serve::page;

use crate::app::find_orders::Find;
use crate::domain::rules::is_sku;
use crate::domain::words::{Vocabulary, Wanted};
use crate::infra::finder::Filter;

/// Most users and most products of one search.
const MOST: usize = 50;
/// Most order numbers of one search.
const MOST_NUMBERS: usize = 200;

pub fn list(request: pb::ListOrdersRequest) -> Result<Find, Fault> {
    let mut criteria = pb::OrderCriteria {
        states: request.states,
        status: request.status,
        status_retail: request.status_retail,
        status_lifecycle: request.status_lifecycle,
        sku_prefix: String::new(),
        create_time_from: request.create_time_from,
        create_time_to: request.create_time_to,
        currency_code: request.currency_code,
        total_min_minor: request.total_min_minor,
        total_max_minor: request.total_max_minor,
        ..Default::default()
    };
    criteria.customer_ids.extend(Some(request.customer_id).filter(|id| !id.is_empty()));
    criteria.order_numbers.extend(Some(request.order_number).filter(|number| *number != 0));
    criteria.skus.extend(Some(request.sku).filter(|sku| !sku.is_empty()));
    let names = Names {
        before: "",
        customer: |_| "customer_id".into(),
        number: |_| "order_number".into(),
        sku: |_| "sku".into(),
    };
    find(request.page_size, request.page_token, &criteria, &names)
}

pub fn search(request: pb::SearchOrdersRequest) -> Result<Find, Fault> {
    find(request.page_size, request.page_token, &request.criteria.unwrap_or_default(), &CRITERIA)
}

pub fn count(request: pb::CountOrdersRequest) -> Result<Filter, Fault> {
    let mut wrong = Violations::default();
    let filter = filter(&request.criteria.unwrap_or_default(), &CRITERIA, &mut wrong);
    wrong.finish()?;
    Ok(filter)
}

/// The user, the size of the page and its token.
pub fn user(request: pb::ListUserOrdersRequest) -> Result<(UserId, i64, String), Fault> {
    let user = request.user_id.parse::<UserId>();
    let user = user.map_err(|error| Fault::invalid("user_id", "ID_INVALID", error.to_string()));
    Ok((user?, page::size(request.page_size)?, request.page_token))
}

/// How the fields are called where they stand.
struct Names {
    before: &'static str,
    customer: fn(usize) -> String,
    number: fn(usize) -> String,
    sku: fn(usize) -> String,
}

const CRITERIA: Names = Names {
    before: "criteria.",
    customer: |at| format!("criteria.customer_ids[{at}]"),
    number: |at| format!("criteria.order_numbers[{at}]"),
    sku: |at| format!("criteria.skus[{at}]"),
};

impl Names {
    fn of(&self, field: &str) -> String {
        format!("{}{field}", self.before)
    }
}

fn find(size: i32, token: String, criteria: &pb::OrderCriteria, names: &Names) -> Result<Find, Fault> {
    let mut wrong = Violations::default();
    let filter = filter(criteria, names, &mut wrong);
    let size = page::size(size).map_err(|fault| {
        fault
            .violations()
            .iter()
            .for_each(|one| wrong.add(one.field.clone(), "PAGE_SIZE_INVALID", one.description.clone()));
    });
    wrong.finish()?;
    Ok(Find { size: size.unwrap_or_default(), token, filter })
}

fn filter(criteria: &pb::OrderCriteria, names: &Names, wrong: &mut Violations) -> Filter {
    let mut filter = Filter::default();
    states(&mut filter, criteria, names, wrong);
    let mut span = |name: &str, at: Option<&prost_types::Timestamp>| {
        let at = at?;
        let read = Timestamp::new(at.seconds, at.nanos).ok().filter(|_| (0..1_000_000_000).contains(&at.nanos));
        if read.is_none() {
            wrong.add(names.of(name), "TIME_INVALID", "not a time");
        }
        read
    };
    let from = span("create_time_from", criteria.create_time_from.as_ref());
    let to = span("create_time_to", criteria.create_time_to.as_ref());
    if from.is_some_and(|from| to.is_some_and(|to| to <= from)) {
        wrong.add(names.of("create_time_to"), "SPAN_EMPTY", "must be after create_time_from");
    }
    filter = filter.placed(from, to);
    keys(&mut filter, criteria, names, wrong);
    totals(&mut filter, criteria, names, wrong);
    match criteria.sku_prefix.as_str() {
        "" => filter,
        prefix if prefix.len() >= 2 && is_sku(prefix) => filter.sku_beginning(prefix),
        _ => {
            wrong.add(names.of("sku_prefix"), "SKU_INVALID", "2 to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore");
            filter
        }
    }
}

fn states(filter: &mut Filter, criteria: &pb::OrderCriteria, names: &Names, wrong: &mut Violations) {
    let mut possible: Vec<BTreeSet<i16>> = Vec::new();
    if !criteria.states.is_empty() {
        let mut named = BTreeSet::new();
        for (at, number) in criteria.states.iter().enumerate() {
            match pb::OrderState::try_from(*number) {
                Ok(state) if state != pb::OrderState::Unspecified => {
                    named.insert(number_of(state));
                }
                _ => wrong.add(names.of(&format!("states[{at}]")), "STATE_UNKNOWN", "not a state of an order"),
            }
        }
        possible.push(named);
    }
    let mut read = |field: &str, texts: &[String], vocabulary: Vocabulary| -> Option<Wanted> {
        let mut words = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            match vocabulary.read(text) {
                Some(word) => words.push(word),
                None => {
                    let known = vocabulary.words().join(", ");
                    wrong.add(names.of(&format!("{field}[{at}]")), "STATUS_UNKNOWN", format!("one of {known}"));
                }
            }
        }
        (!texts.is_empty()).then(|| vocabulary.wanted(words))
    };
    let detailed = read("status", &criteria.status, Vocabulary::Detailed);
    let retail = read("status_retail", &criteria.status_retail, Vocabulary::Retail);
    let lifecycle = read("status_lifecycle", &criteria.status_lifecycle, Vocabulary::Lifecycle);
    for wanted in [&detailed, &retail, &lifecycle].into_iter().flatten() {
        possible.push(wanted.states.iter().copied().map(number_of).collect());
    }
    filter.states = possible.into_iter().reduce(|all, one| &all & &one).map(|states| states.into_iter().collect());
    filter.bases = detailed.map(|wanted| wanted.states.into_iter().map(number_of).collect());
    filter.retail = retail.map(|wanted| wanted.words);
    filter.lifecycle = lifecycle.map(|wanted| wanted.words);
}

fn number_of(state: pb::OrderState) -> i16 {
    i16::try_from(i32::from(state)).unwrap_or(i16::MAX)
}

fn keys(filter: &mut Filter, criteria: &pb::OrderCriteria, names: &Names, wrong: &mut Violations) {
    let mut few = |field: &str, count: usize, most: usize| {
        if count > most {
            wrong.add(names.of(field), "TOO_MANY", format!("at most {most}"));
        }
    };
    few("customer_ids", criteria.customer_ids.len(), MOST);
    few("order_numbers", criteria.order_numbers.len(), MOST_NUMBERS);
    few("skus", criteria.skus.len(), MOST);
    let mut customers = BTreeSet::new();
    for (at, text) in criteria.customer_ids.iter().enumerate().take(MOST) {
        match text.parse::<UserId>() {
            Ok(id) => {
                customers.insert(id.uuid());
            }
            Err(error) => wrong.add((names.customer)(at), "ID_INVALID", error.to_string()),
        }
    }
    for (at, _) in criteria.order_numbers.iter().enumerate().take(MOST_NUMBERS).filter(|(_, number)| **number < 1) {
        wrong.add((names.number)(at), "NUMBER_INVALID", "order numbers start at 1");
    }
    for (at, _) in criteria.skus.iter().enumerate().take(MOST).filter(|(_, sku)| !is_sku(sku)) {
        wrong.add((names.sku)(at), "SKU_INVALID", "1 to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore");
    }
    filter.customers = (!criteria.customer_ids.is_empty()).then(|| customers.into_iter().collect());
    filter.numbers = sorted(&criteria.order_numbers);
    filter.skus = sorted(&criteria.skus);
}

/// Each value once, so that the same question has the same token; None for no values.
fn sorted<T: Ord + Clone>(values: &[T]) -> Option<Vec<T>> {
    let all: BTreeSet<&T> = values.iter().collect();
    (!all.is_empty()).then(|| all.into_iter().cloned().collect())
}

fn totals(filter: &mut Filter, criteria: &pb::OrderCriteria, names: &Names, wrong: &mut Violations) {
    let (least, most) = (criteria.total_min_minor, criteria.total_max_minor);
    for (name, bound) in [("total_min_minor", least), ("total_max_minor", most)] {
        if bound.is_some_and(|bound| bound < 0) {
            wrong.add(names.of(name), "TOTAL_INVALID", "must not be negative");
        }
    }
    if least.is_some_and(|least| most.is_some_and(|most| most < least)) {
        wrong.add(names.of("total_max_minor"), "TOTAL_INVALID", "must not be less than total_min_minor");
    }
    let currency = criteria.currency_code.as_str();
    if !currency.is_empty() && currency.parse::<money::Currency>().is_err() {
        wrong.add(names.of("currency_code"), "CURRENCY_INVALID", "an ISO 4217 code such as USD");
    }
    if currency.is_empty() && (least.is_some() || most.is_some()) {
        wrong.add(names.of("currency_code"), "CURRENCY_MISSING", "totals are compared in one currency");
    }
    filter.currency = (!currency.is_empty()).then(|| currency.to_owned());
    (filter.total_min, filter.total_max) = (least, most);
}
