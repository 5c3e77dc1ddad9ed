//! libFuzzer over the targets: which of them, `BOND_FUZZ_TARGET` says.
#![no_main]

use std::sync::OnceLock;

use bond_fuzz::{TARGETS, Target};

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("BOND_FUZZ_TARGET").unwrap_or_default();
    *TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("BOND_FUZZ_TARGET names no target: {name}"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.get_or_init(chosen).1)(data));
