//! How the sources name things: a type's name means one thing within its crate, modules that were once tangled stay apart, and the way of a
//! `subscribe` is as short as the document says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The crates, by the folder that has their `src`.
const CRATES: [&str; 13] = [
    "shared/core",
    "shared/language",
    "shared/api",
    "shared/redis",
    "shared/aws",
    "shared/supervise",
    "ingest",
    "edge",
    "functions",
    "cloud",
    "localstack",
    "simulator",
    "fuzz",
];

/// The most names of a crate that may stand for more than one type, in percent of all its types.
const MOST_SHARED: usize = 3;

/// Modules of one crate, by folder or file below its `src`. None may use one that comes after it: there would be a circle.
const ORDERS: [(&str, &[&str]); 9] = [
    ("edge", &["delivery", "ws", "broker"]),
    ("edge", &["delivery", "relay"]),
    (
        "edge",
        &[
            "delivery/cursor",
            "delivery/history",
            "delivery/ring",
            "delivery/follow",
            "delivery/hub",
            "delivery/leases",
            "delivery/feed",
        ],
    ),
    ("edge", &["failure", "logging", "venues", "command"]),
    ("edge", &["ws/connection", "ws/fast_path", "ws/feed_turn", "ws/worker"]),
    ("ingest", &["net", "session", "source"]),
    ("ingest", &["session/context", "session/session_loop", "session/connection"]),
    ("ingest", &["session/market", "session/standing"]),
    ("ingest", &["engine/desired", "engine/run", "engine/registry"]),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The source files below `folder` that are not tests.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The text of a file without its tests.
fn production(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)?;
    Ok(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned())
}

/// The type that a line declares, if it declares one for its whole module.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => {
            rest.strip_prefix('(').map_or(rest, |rest| rest.split_once(')').map_or(rest, |(_, rest)| rest))
        }
        None => line,
    };
    let (keyword, rest) = line.trim_start().split_once(' ')?;
    let is_declaration = ["struct", "enum", "union", "trait", "type"].contains(&keyword);
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (is_declaration && !line.starts_with("  ")).then_some(&rest[..end])
}

/// What venues send is named as the venues name it.
fn is_wire_of_a_venue(path: &Path) -> bool {
    let below =
        |parent: &str| path.parent().and_then(Path::parent).is_some_and(|folder| folder.ends_with(parent));
    below("ingest/src/venue")
}

/// Each type's name, with the files that declare one.
fn types(of: &str) -> Result<BTreeMap<String, BTreeSet<PathBuf>>> {
    let mut types: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in sources(&root().join(of).join("src"))? {
        if is_wire_of_a_venue(&path) {
            continue;
        }
        for name in production(&path)?.lines().filter_map(declared) {
            types.entry(name.to_owned()).or_default().insert(path.clone());
        }
    }
    Ok(types)
}

#[test]
fn a_types_name_means_one_thing_within_its_crate() -> Result<()> {
    let mut counted = 0;
    for of in CRATES {
        let types = types(of)?;
        counted += types.len();
        let shared: Vec<_> = types.iter().filter(|(_, files)| files.len() > 1).collect();
        ensure!(
            shared.len() * 100 <= types.len() * MOST_SHARED,
            "{of}: {} of {} names stand for more than one type: {shared:#?}",
            shared.len(),
            types.len()
        );
    }
    ensure!(counted > 700, "only {counted} types were found");
    Ok(())
}

/// The modules of its crate that a file uses, as paths below `src`.
fn used(of: &str, path: &Path) -> Result<Vec<String>> {
    let src = root().join(of).join("src");
    let module = path.strip_prefix(&src)?.with_extension("");
    let module = if module.ends_with("mod") { module.parent().unwrap_or(&module).to_owned() } else { module };
    let mut used = Vec::new();
    for line in production(path)?.lines() {
        let line = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        let Some(mut what) = line.strip_prefix("use ") else { continue };
        let mut base = PathBuf::new();
        if let Some(rest) = what.strip_prefix("crate::") {
            what = rest;
        } else if what.starts_with("super::") {
            base.clone_from(&module);
            while let Some(rest) = what.strip_prefix("super::") {
                (base, what) = (base.parent().unwrap_or(Path::new("")).to_owned(), rest);
            }
        } else {
            continue;
        }
        let steps = what.trim_end_matches(';').split("::").take_while(|step| !step.starts_with('{'));
        used.push(steps.fold(base, |path, step| path.join(step)).display().to_string());
    }
    Ok(used)
}

fn is_within(path: &str, module: &str) -> bool {
    path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with('/'))
}

#[test]
fn modules_that_were_tangled_stay_apart() -> Result<()> {
    for (of, order) in ORDERS {
        let src = root().join(of).join("src");
        let mut seen = BTreeSet::new();
        for path in sources(&src)? {
            let below = path.strip_prefix(&src)?.with_extension("").display().to_string();
            let Some(place) = order.iter().position(|module| is_within(&below, module)) else { continue };
            seen.insert(place);
            for used in used(of, &path)? {
                let later = order[place + 1..].iter().find(|module| is_within(&used, module));
                ensure!(
                    later.is_none(),
                    "{of}: {below} uses {used}, and {} comes before {later:?}",
                    order[place]
                );
            }
        }
        ensure!(seen.len() == order.len(), "{of}: some of {order:?} are not there");
    }
    Ok(())
}

/// The most files that somebody has to open who follows a `subscribe` from the socket to the venue and back.
const MOST_STOPS: usize = 12;

/// The files and functions that ARCHITECTURE.md names under `heading`, as `path/file.rs: function`.
fn stops(document: &str, heading: &str) -> Result<Vec<(String, String)>> {
    let (_, section) = document.split_once(heading).context("no such section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let code = section.split('`').skip(1).step_by(2).filter(|code| code.contains(".rs"));
    code.map(|code| {
        let (file, function) =
            code.split_once(": ").with_context(|| format!("no function is named: {code}"))?;
        Ok((file.to_owned(), function.to_owned()))
    })
    .collect()
}

#[test]
fn a_subscribe_passes_a_dozen_files_and_the_document_names_them() -> Result<()> {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let stops = stops(&document, "\n## How a `subscribe` reaches a venue\n")?;
    for (file, function) in &stops {
        let text = production(&root().join(file)).with_context(|| file.clone())?;
        let is_there =
            [format!("fn {function}("), format!("fn {function}<")].iter().any(|begin| text.contains(begin));
        ensure!(is_there, "{file} has no function {function}");
    }
    let files: BTreeSet<&str> = stops.iter().map(|(file, _)| file.as_str()).collect();
    ensure!(files.len() == stops.len(), "a file is named twice: {stops:?}");
    ensure!((8..=MOST_STOPS).contains(&files.len()), "a subscribe passes {} files: {files:?}", files.len());
    Ok(())
}
