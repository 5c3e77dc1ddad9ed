//! Dependencies point down only, and the `bond` command stays quick to build.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Which crates of this workspace each may use, tests apart.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("bond-core", &[]),
    ("bond-language", &["bond-core"]),
    ("bond-sim", &[]),
    ("bond-gateway", &[]),
    ("bond-supervise", &[]),
    ("bond-api", &["bond-core", "bond-language", "bond-supervise"]),
    ("bond-redis", &["bond-core", "bond-supervise"]),
    ("bond-aws", &["bond-core"]),
    ("bond-ingest", &["bond-core", "bond-supervise"]),
    ("bond-edge", &["bond-api", "bond-core", "bond-ingest", "bond-redis", "bond-sim", "bond-supervise"]),
    ("bond-functions", &["bond-api", "bond-aws", "bond-core", "bond-redis", "bond-supervise"]),
    (
        "bond-cloud",
        &["bond-api", "bond-aws", "bond-core", "bond-edge", "bond-ingest", "bond-redis", "bond-supervise"],
    ),
    ("bond-e2e", &[]),
    ("bond-examples", &[]),
    ("bond-fuzz", &["bond-core", "bond-edge", "bond-ingest", "bond-language"]),
];

/// The crates that read the system's clock, since they are what runs.
const WITH_CLOCK: [&str; 3] = ["bond-edge", "bond-functions", "bond-cloud"];

/// What must not come into the `bond` command: an SDK, a columnar store, a C toolchain.
const KEPT_OUT: [&str; 5] = ["aws-", "arrow", "openssl-sys", "cmake", "bindgen"];

fn cargo(arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn dependencies_point_down_only() -> Result<()> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])?)?;
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    for package in metadata["packages"].as_array().context("packages")? {
        let name = package["name"].as_str().context("name")?;
        let may = allowed
            .get(name)
            .with_context(|| format!("{name} has no place in the layers yet: give it one"))?;
        let uses: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .context("dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|dependency| dependency.starts_with("bond-"))
            .collect();
        let forbidden: Vec<_> = uses.iter().filter(|used| !may.contains(used)).collect();
        ensure!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
    Ok(())
}

#[test]
fn what_runs_alone_has_a_clock() -> Result<()> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])?)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let asks = |dependency: &Value| {
        let features = dependency["features"].as_array();
        dependency["kind"].is_null()
            && dependency["name"] == "bond-core"
            && features.is_some_and(|features| features.iter().any(|feature| feature == "clock"))
    };
    let asks = |package: &&Value| package["dependencies"].as_array().is_some_and(|all| all.iter().any(asks));
    let with_clock: BTreeSet<&str> =
        packages.iter().filter(asks).filter_map(|package| package["name"].as_str()).collect();
    ensure!(with_clock == BTreeSet::from(WITH_CLOCK), "the system's clock is read by {with_clock:?}");
    Ok(())
}

#[test]
fn a_new_word_of_the_language_rebuilds_no_adapter() -> Result<()> {
    let tree = cargo(&["tree", "--workspace", "-i", "bond-language", "-e", "normal", "--prefix", "none"])?;
    let rebuilt: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(rebuilt.contains("bond-api"), "nothing depends on the language: {rebuilt:?}");
    for name in ["bond-core", "bond-redis", "bond-aws", "bond-ingest"] {
        ensure!(!rebuilt.contains(name), "{name} must not depend on the language");
    }
    Ok(())
}

#[test]
fn the_core_has_no_io_and_no_runtime() -> Result<()> {
    let tree = cargo(&[
        "tree",
        "-p",
        "bond-core",
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "-f",
        "{p} {f}",
    ])?;
    for line in tree.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        ensure!(
            !["mio", "hyper", "reqwest", "axum", "redb", "fred"].contains(&name),
            "bond-core depends on {name}"
        );
        if name == "tokio" {
            ensure!(
                !line.contains("rt") && !line.contains("net"),
                "bond-core wants more of tokio than its locks: {line}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_command_stays_free_of_what_is_slow_to_build() -> Result<()> {
    let tree = cargo(&["tree", "-p", "bond-edge", "-e", "normal,build", "--prefix", "none"])?;
    for name in tree.lines().filter_map(|line| line.split_whitespace().next()) {
        ensure!(
            !KEPT_OUT.iter().any(|out| name.starts_with(out)),
            "the bond command must not depend on {name}"
        );
    }
    Ok(())
}
