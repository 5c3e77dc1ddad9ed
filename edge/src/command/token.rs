//! `bond token rotate`: a new key that signs tokens.

use std::io::Read;

use bond_core::token::KeySet;

use crate::failure::{Exit, Failure, Outcome};

/// The length of a secret, in bytes of randomness.
const SECRET_BYTES: usize = 32;

/// Reads the keys from standard input and writes them with a new one to standard output.
///
/// # Errors
/// Where the input is no set of keys.
pub fn rotate() -> Outcome {
    let mut text = String::new();
    std::io::stdin().take(64 * 1024).read_to_string(&mut text)?;
    let keys = KeySet::from_json(&text).map_err(|error| Failure::new(Exit::NotUnderstood, error))?;
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(|error| Failure::new(Exit::Failed, error))?;
    println!("{}", keys.rotated(&random).to_json());
    eprintln!("tokens signed with the key so far are good until the next rotation");
    Ok(())
}
