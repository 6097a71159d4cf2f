//! docs/reports.md names a test for each report, and every test that it names is there.

use std::fs;
use std::path::Path;

/// Whether a source has this test: a function below `#[test]`, other attributes between them or not.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begin = format!("fn {name}(");
    lines.iter().position(|line| line.starts_with(&begin)).is_some_and(|at| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.into_iter().any(|line| *line == "#[test]")
    })
}

/// What stands in back quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_report_has_its_tests() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(repository.join("docs/reports.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, tests] = cells[..] else { panic!("expected three cells: {row}") };
        let (mut source, mut found) = (String::new(), 0);
        for name in quoted(tests) {
            if name.ends_with(".rs") {
                source = fs::read_to_string(repository.join("crates").join(name))
                    .unwrap_or_else(|e| panic!("`{name}`: {e}"));
            } else {
                assert!(has_test(&source, name), "no test `{name}` where it is said to be: {row}");
                found += 1;
            }
        }
        assert!(found > 0, "no test: {row}");
    }
}
