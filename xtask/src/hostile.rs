//! docs/hostile-inputs.md and docs/fault-matrix.md name tests: this proves that each of them exists, and that each attack of
//! the process tests stands on its page.

use crate::tidy::{function_name, read};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/hostile-inputs.md";
const MATRIX: &str = "docs/fault-matrix.md";
/// Where the attacks on a real node are.
const ATTACKS: &str = "crates/sternpost/tests/it/attacks";

/// Adds the tests that a page names and that do not exist; gives back all that it names. A test is named as
/// `path/to/file.rs: function`, several functions with commas.
fn check_page(page_path: &str, findings: &mut Vec<String>) -> Result<BTreeSet<String>, String> {
    let page = read(Path::new(page_path))?;
    let mut named = BTreeSet::new();
    for (file, tests) in references(&page) {
        let Ok(source) = fs::read_to_string(file) else {
            findings.push(format!("{page_path}: {file} does not exist"));
            continue;
        };
        let functions: BTreeSet<&str> =
            source.lines().filter_map(|line| function_name(line.trim_start())).collect();
        for test in tests {
            // A harness is a line of a macro: its name and a colon.
            let is_harness = source.lines().any(|line| line.trim_start().starts_with(&format!("{test}: ")));
            if !functions.contains(test) && !is_harness {
                findings.push(format!("{page_path}: {file} has no test {test}"));
            }
            named.insert(test.to_owned());
        }
    }
    Ok(named)
}

/// Adds what is wrong.
pub fn check(findings: &mut Vec<String>) -> Result<(), String> {
    check_page(MATRIX, findings)?;
    let named = check_page(PAGE, findings)?;
    for entry in fs::read_dir(ATTACKS).map_err(|error| format!("read {ATTACKS}: {error}"))?.flatten() {
        let source = read(&entry.path())?;
        for attack in attacks(&source).filter(|attack| !named.contains(*attack)) {
            findings.push(format!("{PAGE}: the attack {attack} is not on the page"));
        }
    }
    Ok(())
}

/// Files and the tests that the page names in them.
fn references(page: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let quoted =
        page.lines().filter(|line| line.starts_with('|')).flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted.filter_map(|code| {
        let (file, tests) = code.split_once(".rs: ")?;
        Some((&code[..file.len() + ".rs".len()], tests.split(", ").collect()))
    })
}

/// Names in the `attacks!` list of a file.
fn attacks(source: &str) -> impl Iterator<Item = &str> {
    let list = source.lines().skip_while(|line| !line.starts_with("attacks! {")).skip(1);
    list.take_while(|line| !line.starts_with('}')).filter_map(|line| {
        let (name, _) = line.trim_start().split_once(": [")?;
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_tests_are_found_in_rows_only() {
        let page = "`a/x.rs: not_here`\n| item | closes | `a/b.rs: one, two` and `c.rs: three` |\n";
        let found: Vec<_> = references(page).collect();
        assert_eq!(found, [("a/b.rs", vec!["one", "two"]), ("c.rs", vec!["three"])]);
        let source = "attacks! {\n    first: [], \"\";\n    second: [\"a=b\"], \"x: [\";\n}\nfn third() {}\n";
        assert_eq!(attacks(source).collect::<Vec<_>>(), ["first", "second"]);
    }
}
