//! `bond key`: API keys in the data directory.

use bond_core::api_key::{KeyEntry, Role};
use bond_core::clock::SystemClock;
use bond_core::time::Clock;

use crate::cli::{KeyAction, KeyArgs};
use crate::failure::{Exit, Failure, Outcome};
use bond_api::keys::{self, KeyRandom, KeysError};

/// Makes, lists or revokes keys.
///
/// # Errors
/// Where the key file cannot be read or written, a role is unknown, or there is no such key.
pub fn run(args: &KeyArgs) -> Outcome {
    match &args.action {
        KeyAction::New { owner, role } => {
            let key = keys::create(&args.data_dir, owner, roles(role)?, &random()?, SystemClock.now())?;
            println!("{}", key.expose());
            eprintln!("this key is shown once; send it as `Authorization: Bearer …`");
        }
        KeyAction::List => keys::list(&args.data_dir)?.iter().for_each(|key| println!("{}", line(key))),
        KeyAction::Revoke { id } => {
            keys::revoke(&args.data_dir, id)?.ok_or_else(|| {
                Failure::new(Exit::Failed, format!("no key {id}; `bond key list` shows them"))
            })?;
        }
    }
    Ok(())
}

fn roles(names: &[String]) -> Result<Vec<Role>, Failure> {
    let role = |name: &String| {
        let unknown = || Failure::new(Exit::NotUnderstood, format!("no role {name}; there is publisher"));
        Role::from_name(name).ok_or_else(unknown)
    };
    names.iter().map(role).collect()
}

fn random() -> Result<KeyRandom, Failure> {
    let mut random = KeyRandom { key: [0; 32], hash_key: [0; 32] };
    for bytes in [&mut random.key, &mut random.hash_key] {
        getrandom::fill(bytes).map_err(|error| Failure::new(Exit::Failed, error))?;
    }
    Ok(random)
}

fn line(key: &KeyEntry) -> String {
    let roles: Vec<&str> = key.roles.iter().map(|role| role.name()).collect();
    format!("{}  {}  {}  {}", key.id, key.owner, roles.join(","), key.created_at)
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        Self::new(Exit::Failed, error)
    }
}
