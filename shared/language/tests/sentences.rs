//! The sentences in `golden/sentences.json`, drawn up from the rules of the language, against the compiler.
//!
//! Each wish lists the ways to say it, all of which give the same spec, or the same error. The ids are digests by Python's
//! `hashlib.blake2b(…, digest_size=8)` over sorted, compact JSON: an implementation other than the one tested.

use std::collections::{BTreeMap, BTreeSet};

use bond_core::spec::StreamSpec;
use bond_language::{Compilation, Defaults, LanguageCode, LanguageError, compile, read_spec};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    wish: String,
    say: Vec<String>,
    id: Option<String>,
    spec: Option<Value>,
    #[serde(default)]
    warnings: Vec<String>,
    error: Option<String>,
    /// What the error says or suggests.
    suggests: Option<String>,
    /// The words that the error names as those that are not understood.
    #[serde(default)]
    names: Vec<String>,
}

fn wishes() -> Vec<Wish> {
    serde_json::from_str(include_str!("golden/sentences.json")).expect("the golden file")
}

/// Sentences with words that change what is wanted, drawn up before the rule that refuses them, and those nearest to them that are understood.
fn half_understood() -> Vec<Wish> {
    serde_json::from_str(include_str!("golden/half_understood.json")).expect("the golden file")
}

/// How an understood sentence differs from what was wished for, in words.
fn compare(wish: &Wish, result: &Compilation) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, expected: String, found: String| {
        if expected != found {
            differences.push(format!("{what}\n      expected {expected}\n      found    {found}"));
        }
    };
    let Some(spec) = &wish.spec else {
        differ(
            "error",
            wish.error.clone().unwrap_or_default(),
            format!("no error, but {}", text(&result.spec)),
        );
        return differences;
    };
    differ("spec", spec.to_string(), text(&result.spec));
    differ("id", wish.id.clone().unwrap_or_default(), result.spec.id().to_string());
    let told = wish.warnings.len() == result.warnings.len()
        && wish.warnings.iter().all(|part| result.warnings.iter().any(|warning| warning.contains(part)));
    if !told {
        differ("warnings", format!("{:?}", wish.warnings), format!("{:?}", result.warnings));
    }
    differences
}

fn compare_error(wish: &Wish, error: &LanguageError) -> Vec<String> {
    let expected = wish.error.as_deref().unwrap_or("no error");
    let said = error.suggestions.iter().chain([&error.message]);
    let part = wish.suggests.as_deref().unwrap_or_default();
    let suggested = said.into_iter().any(|text| text.contains(part));
    let quoted: Vec<&str> =
        error.message.split('"').skip(1).step_by(2).flat_map(str::split_whitespace).collect();
    let named = wish.names.iter().all(|word| quoted.contains(&word.as_str()));
    if error.code.as_str() == expected && suggested && named {
        return Vec::new();
    }
    let found = format!("{}: {} {:?}", error.code, error.message, error.suggestions);
    let names = &wish.names;
    vec![format!(
        "error\n      expected {expected}, with {part:?} and {names:?} in it\n      found    {found}"
    )]
}

fn text(spec: &StreamSpec) -> String {
    serde_json::to_value(spec).expect("JSON").to_string()
}

#[test]
fn every_sentence_means_what_is_written_down() {
    assert!(hold(wishes()) >= 120);
}

#[test]
fn what_was_half_understood_is_refused_or_done() {
    assert!(hold(half_understood()) >= 120);
    let refused = half_understood().into_iter().filter(|wish| wish.error.is_some());
    assert!(refused.map(|wish| wish.say.len()).sum::<usize>() >= 80);
}

#[test]
fn a_refusal_suggests_a_sentence_that_is_understood_whole() {
    for sentence in
        half_understood().into_iter().filter(|wish| wish.error.is_some()).flat_map(|wish| wish.say)
    {
        let error = compile(&sentence, &Defaults::default()).expect_err("refused");
        assert!(!error.suggestions.is_empty(), "{sentence:?}");
        for suggestion in error.suggestions {
            let warnings = compile(&suggestion, &Defaults::default()).map(|result| result.warnings);
            assert_eq!(warnings, Ok(Vec::new()), "{sentence:?}: {suggestion:?}");
        }
    }
}

/// Compares all of it; how many sentences there are.
fn hold(wishes: Vec<Wish>) -> usize {
    let mut wrong = String::new();
    let (mut sentences, mut failures) = (0, 0);
    for wish in wishes {
        for sentence in &wish.say {
            sentences += 1;
            let differences = match compile(sentence, &Defaults::default()) {
                Ok(result) => compare(&wish, &result),
                Err(error) => compare_error(&wish, &error),
            };
            failures += usize::from(!differences.is_empty());
            for difference in differences {
                wrong.push_str(&format!("\n  {sentence:?} ({})\n    {difference}\n", wish.wish));
            }
        }
    }
    assert!(wrong.is_empty(), "{failures} of {sentences} sentences differ:\n{wrong}");
    sentences
}

#[test]
fn wishes_have_one_id_exactly_where_they_carry_the_same() {
    let mut carried: BTreeMap<String, Value> = BTreeMap::new();
    for wish in wishes() {
        let (Some(id), Some(mut spec)) = (wish.id, wish.spec) else { continue };
        spec["ttl_sec"] = Value::Null;
        let known = carried.entry(id).or_insert_with(|| spec.clone());
        assert_eq!(*known, spec, "{}", wish.wish);
    }
    let distinct: BTreeSet<String> = carried.values().map(Value::to_string).collect();
    assert_eq!(distinct.len(), carried.len(), "one spec has two ids");
}

#[test]
fn every_written_spec_is_accepted_back_as_it_is() {
    for wish in wishes() {
        let Some(spec) = wish.spec else { continue };
        let (read, warnings) = read_spec(&spec).expect("a written spec");
        let unserved = warnings.iter().all(|warning| warning.message.contains("not served"));
        assert!(unserved, "{}: {warnings:?}", wish.wish);
        assert_eq!(serde_json::to_value(&read).expect("JSON"), spec, "{}", wish.wish);
        assert_eq!(Some(read.id().to_string()), wish.id, "{}", wish.wish);
    }
}

const GUIDE: &str = include_str!("../../../docs/language.md");

#[test]
fn the_examples_of_the_guide_are_understood() {
    let examples: Vec<&str> =
        GUIDE.split("```").nth(1).expect("a block of examples").trim().lines().collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let result = compile(example, &Defaults::default());
        assert!(result.is_ok(), "{example:?}: {:?}", result.err());
    }
}

#[test]
fn the_guide_names_every_error_and_the_golden_file_shows_it() {
    let shown: BTreeSet<String> = wishes().into_iter().filter_map(|wish| wish.error).collect();
    for code in LanguageCode::ALL {
        assert!(GUIDE.contains(&format!("`{code}`")), "{code} is not in the guide");
        assert!(shown.contains(code.as_str()), "no sentence shows {code}");
    }
}

#[test]
fn what_is_suggested_is_understood() {
    let error = compile("hello", &Defaults::default()).expect_err("no wish");
    for suggestion in error.suggestions {
        let result = compile(&suggestion, &Defaults::default()).map(|result| result.warnings);
        assert_eq!(result, Ok(Vec::new()), "{suggestion:?}");
    }
}
