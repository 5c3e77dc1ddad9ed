//! The tables of ARCHITECTURE.md that say what runs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

const TEXT: &str = include_str!("../../../../ARCHITECTURE.md");

/// The rows of the table with this heading, the heading first, each cell without its blanks.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let begin = format!("| {heading} |");
    let lines = TEXT.lines().skip_while(|line| !line.starts_with(&begin));
    let rows = lines.take_while(|line| line.starts_with('|')).filter(|line| !line.starts_with("|--"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The names in a cell.
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split(',').map(|name| name.trim().trim_matches('`').to_owned())
}

/// What must run in a process that `bond {kind}` starts.
pub(super) fn watched(kind: &str) -> Result<BTreeSet<String>> {
    let rows = rows("watched");
    let (heading, rows) = rows.split_first().context("no table")?;
    let column = heading.iter().position(|cell| cell.trim_matches('`') == kind);
    let column = column.with_context(|| format!("no column for {kind}"))?;
    let runs = rows.iter().filter(|row| row[column] == "×");
    let must: BTreeSet<_> = runs.flat_map(|row| names(row[0])).collect();
    ensure!(!must.is_empty(), "nothing runs in {kind}");
    Ok(must)
}

/// What may run within what must.
pub(super) fn owned() -> Result<BTreeSet<String>> {
    let may: BTreeSet<_> = rows("owned").iter().skip(1).flat_map(|row| names(row[0])).collect();
    ensure!(!may.is_empty(), "no table");
    Ok(may)
}

/// The name in the tables for one that a process gives: `relay-N` for `relay-3`.
pub(super) fn kind(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{kind}-N"),
        _ => match name.split_once('-') {
            Some((kind @ ("market" | "connection"), _)) => format!("{kind}-*"),
            _ => name.to_owned(),
        },
    }
}

#[test]
fn names_are_those_of_the_tables() {
    let kinds = ["relay-12", "relay-tail", "market-binance-spot", "engine"].map(kind);
    assert_eq!(kinds, ["relay-N", "relay-tail", "market-*", "engine"]);
}
