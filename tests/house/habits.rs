//! Habits that a compiler or clippy does not see.

use super::source::{Function, Source, sources};
use super::{assert_none, files, read, sql};

fn broken(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    sources().iter().flat_map(rule).collect()
}

/// Sleeps in tests, except between two looks of a loop that gives up at a deadline.
fn idle_sleeps(source: &Source) -> Vec<String> {
    // A load generator paces its calls by the clock; it waits for nothing and asserts nothing.
    if source.path.starts_with("tests/load/") {
        return Vec::new();
    }
    let functions = source.functions();
    let calls =
        ["sleep", "sleep_until"].into_iter().flat_map(|name| [source.find(&[name]).collect::<Vec<_>>()]).flatten();
    let calls =
        calls.filter(|at| source.tokens.get(at + 1).is_some_and(|next| next.text == "(") && source.in_tests(*at));
    let idle = calls.filter(|at| !innermost(&functions, *at).is_some_and(|function| polls(source, function, *at)));
    idle.map(|at| source.place(at)).collect()
}

fn innermost<'a>(functions: &'a [Function<'a>], at: usize) -> Option<&'a Function<'a>> {
    functions.iter().filter(|function| function.body.contains(&at)).min_by_key(|function| function.body.len())
}

fn polls(source: &Source, function: &Function<'_>, at: usize) -> bool {
    const CLOCKS: [&str; 5] = ["Instant", "elapsed", "deadline", "timeout", "timeout_at"];
    let words = &source.tokens[function.body.clone()];
    let bounded = words.iter().any(|token| CLOCKS.contains(&token.text.as_str()));
    let looped =
        function.body.clone().filter(|word| ["loop", "while"].contains(&source.tokens[*word].text.as_str())).any(
            |word| {
                let open = (word..at).find(|open| source.tokens[*open].text == "{");
                open.is_some_and(|open| source.tokens[open].mate > at)
            },
        );
    bounded && looped
}

#[test]
fn tests_do_not_sleep_to_wait() {
    assert_none("a test polls with a deadline instead of sleeping", &broken(idle_sleeps));
}

fn ignored(source: &Source) -> Vec<String> {
    let plain = source.find(&["#", "[", "ignore"]);
    let conditional = source
        .find(&["#", "[", "cfg_attr"])
        .filter(|at| source.tokens[*at..source.tokens[at + 1].mate].iter().any(|token| token.text == "ignore"));
    plain.chain(conditional).map(|at| source.place(at)).collect()
}

#[test]
fn no_test_is_ignored() {
    assert_none("a test runs or does not exist", &broken(ignored));
}

fn unfinished(source: &Source) -> Vec<String> {
    let found = ["todo", "unimplemented", "dbg"]
        .into_iter()
        .flat_map(|name| source.find(&[name]).map(move |at| (name, at)).collect::<Vec<_>>());
    let calls = found.filter(|(_, at)| source.tokens.get(at + 1).is_some_and(|next| next.text == "!"));
    calls.map(|(name, at)| format!("{}: {name}!", source.place(at))).collect()
}

#[test]
fn nothing_is_left_half_done() {
    assert_none("no todo!, unimplemented! or dbg!", &broken(unfinished));
}

/// SQL that is put together at run time: values belong into binds. Tests that go over all tables may name them.
fn assembled_sql(source: &Source) -> Vec<String> {
    let functions = source.functions();
    let calls = source.find(&["sql_query", "("]).filter(|at| !source.in_tests(*at));
    let assembled = calls.filter(|at| {
        let argument = source.tokens[at + 2..].iter().find(|token| token.text != "&").map_or("", |token| &token.text);
        let made_before = innermost(&functions, *at)
            .is_some_and(|f| source.find(&[argument, "=", "format"]).any(|made| f.body.contains(&made)));
        argument == "format" || made_before
    });
    assembled.map(|at| source.place(at)).collect()
}

#[test]
fn sql_is_never_assembled_from_values() {
    assert_none("SQL is not put together with format!: bind the values", &broken(assembled_sql));
}

#[test]
fn no_migration_notifies() {
    let texts = files(".sql").into_iter().map(|path| (sql::without_comments(&read(&path)).to_uppercase(), path));
    let notifies =
        texts.filter(|(text, _)| sql::words(text).any(|word| ["NOTIFY", "PG_NOTIFY", "LISTEN"].contains(&word)));
    assert_none(
        "NOTIFY serialises every commit of the database (data.md H5)",
        &notifies.map(|(_, path)| path).collect::<Vec<_>>(),
    );
}

#[test]
fn bad_habits_are_seen() {
    let text = "#[test]\nfn a() { sleep(x); }\nfn b() { let end = Instant::now(); loop { sleep(x); } }\n\
                fn c() { loop { sleep(x) } }\n#[ignore]\nfn d() { todo!() }";
    let source = Source::parse("tests/x.rs".to_owned(), text);
    assert_eq!(idle_sleeps(&source), ["tests/x.rs:2", "tests/x.rs:4"]);
    assert_eq!(ignored(&source), ["tests/x.rs:5"]);
    assert_eq!(unfinished(&source), ["tests/x.rs:6: todo!"]);
    let text = "fn a() { sql_query(format!(\"{x}\")); sql_query(\"fine\"); }\n\
                fn b() { let sql = format!(\"{x}\");\nsql_query(&sql); }\nfn c() { let sql = \"fine\"; sql_query(sql); }";
    assert_eq!(assembled_sql(&Source::parse("src/x.rs".to_owned(), text)), ["src/x.rs:1", "src/x.rs:3"]);
}
