use super::{assert_none, files, read, root};

/// Most lines of a document, by the beginning of its path.
const LIMITS: [(&str, usize); 5] =
    [("README.md", 100), ("ARCHITECTURE.md", 150), ("CONTRIBUTING.md", 120), ("docs/adding.md", 60), ("docs/adr/", 60)];

fn documents() -> impl Iterator<Item = (String, String)> {
    let ours = |path: &String| !path.contains('/') || path.starts_with("docs/");
    files(".md").into_iter().filter(ours).map(|path| (read(&path), path)).map(|(text, path)| (path, text))
}

/// Targets of links that stand in this repository.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let local =
        targets.filter(|target| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:"));
    local.map(|target| target.split('#').next().unwrap_or(target)).collect()
}

#[test]
fn documents_are_short_enough_to_be_read() {
    for (start, _) in LIMITS {
        assert!(documents().any(|(path, _)| path.starts_with(start)), "{start} exists");
    }
    let most = |path: &str| LIMITS.iter().find(|(start, _)| path.starts_with(start)).map(|(_, most)| *most);
    let long = documents().filter(|(path, text)| most(path).is_some_and(|most| text.lines().count() > most));
    assert_none(
        "a document keeps its limit",
        &long.map(|(path, text)| format!("{path}: {}", text.lines().count())).collect::<Vec<_>>(),
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        let folder = root().join(&path).parent().expect("a file stands in a folder").to_owned();
        broken.extend(
            links(&text)
                .into_iter()
                .filter(|target| !folder.join(target).exists())
                .map(|target| format!("{path}: {target}")),
        );
    }
    assert_none("a link leads to a file", &broken);
}

#[test]
fn local_links_are_told_from_others() {
    assert_eq!(links("[a](b.md#c) [d](https://e.example/f) [g](#h) `x[0](1`"), ["b.md"]);
}

/// The figure of a column of the benchmarks' table of latencies, in milliseconds.
fn measured(text: &str, what: &str, column: usize) -> Option<f64> {
    let row = text.lines().find(|line| line.starts_with(&format!("| {what} |")))?;
    row.split('|').nth(column + 2)?.trim().parse().ok()
}

/// A time on a busy machine says little, so no test takes it: `make bench` does, with orders placed and read beside.
#[test]
fn inv_01_a_stock_look_up_was_measured_at_a_p95_below_100_ms_under_load() {
    let p95 = measured(&read("docs/benchmarks.md"), "stock", 1).expect("the benchmarks measure a look-up of stock");
    assert!(p95 < 100.0, "{p95} ms");
    assert_eq!(measured("| a | 1 |\n| stock | 3.0 | 4.3 | 6.1 |\n", "stock", 1), Some(4.3));
}
