use super::assert_none;
use super::source::{Source, sources};

const FILE: usize = 500;
const FUNCTION: usize = 80;
/// Modules and documentation need no more.
const LIB: usize = 60;

#[test]
fn a_file_can_be_read_in_one_go() {
    let long = sources().iter().filter(|source| source.lines > FILE);
    assert_none(
        "a file has at most 500 lines",
        &long.map(|source| format!("{}: {}", source.path, source.lines)).collect::<Vec<_>>(),
    );
}

#[test]
fn a_lib_rs_holds_modules_and_documentation() {
    let libs = sources().iter().filter(|source| source.path.ends_with("src/lib.rs") && source.lines > LIB);
    assert_none(
        "a lib.rs has at most 60 lines",
        &libs.map(|source| format!("{}: {}", source.path, source.lines)).collect::<Vec<_>>(),
    );
}

#[test]
fn a_function_fits_on_a_screen() {
    let long: Vec<String> = sources().iter().flat_map(|source| too_long(source, FUNCTION)).collect();
    assert_none("a function has at most 80 lines", &long);
}

fn too_long(source: &Source, most: usize) -> Vec<String> {
    let functions = source.functions().into_iter().map(|f| (f.name, f.first_line, f.last_line + 1 - f.first_line));
    let long = functions.filter(|(_, _, lines)| *lines > most);
    long.map(|(name, line, lines)| format!("{}:{line}: {name} has {lines}", source.path)).collect()
}

#[test]
fn a_long_function_is_seen() {
    let source = Source::parse("x.rs".to_owned(), "fn short() {}\nfn long() {\n\n}\n");
    assert_eq!(too_long(&source, 2), ["x.rs:2: long has 3"]);
}
