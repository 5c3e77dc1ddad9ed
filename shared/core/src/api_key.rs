//! API keys: who may call. Kept as keyed hashes in a file that `bond key` edits.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blake2::Blake2bMac;
use blake2::digest::{KeyInit, Mac, consts::U32};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use subtle::ConstantTimeEq;

use crate::time::UnixNanos;

/// What every key begins with.
pub const PREFIX: &str = "bond_";

/// The longest id, in bytes; those that are made have 8.
const ID_BYTES: usize = 16;

/// The longest text that is looked at; every key is shorter.
const MAX_LENGTH: usize = 128;

/// A key as its owner holds it. Does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key made of these random bytes.
    pub fn from_random(random: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
    }

    /// The key's text, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the holder of a key may do besides having streams of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Publish to topics.
    Publisher,
}

impl Role {
    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        (name == "publisher").then_some(Self::Publisher)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
        }
    }
}

/// Whose key it was that opened something.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    /// Whose streams the key manages.
    pub owner: SmolStr,
    /// The key's id.
    pub key: SmolStr,
}

/// One key in the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Names the key to people: the beginning of its hash.
    pub id: String,
    /// Whose streams it manages.
    pub owner: String,
    /// What else it may do.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// base64url(Blake2b-256 of the key's text, keyed with the file's `hash_key`).
    hash: String,
}

impl KeyEntry {
    /// Who holds it.
    pub fn holder(&self) -> Holder {
        Holder { owner: self.owner.as_str().into(), key: self.id.as_str().into() }
    }
}

/// The file of keys: `{"version": 1, "hash_key": …, "keys": [{id, owner, roles, created_at, hash}]}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u8,
    /// base64url of 32 random bytes.
    hash_key: String,
    keys: Vec<KeyEntry>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({} keys, ***)", self.keys.len())
    }
}

/// Why a file of keys cannot be used, or a key not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not JSON of the file's form.
    #[error("not a key file: {0}")]
    Malformed(String),
    /// Written by a later version.
    #[error("key file of version {0}; this bond reads version 1")]
    Version(u8),
    /// The hash key is not base64url of 32 bytes.
    #[error("hash_key is not base64url of 32 bytes")]
    HashKey,
    /// A name that no key can have.
    #[error("a key's id is 1 to {ID_BYTES} letters, digits, and _ -: {0}")]
    Id(String),
    /// A name that no owner can have.
    #[error("an owner is 1 to 64 letters, digits, and . _ @ -: {0}")]
    Owner(String),
}

impl KeyFile {
    /// A file without keys. `hash_key` is random.
    pub fn new(hash_key: [u8; 32]) -> Self {
        Self { version: 1, hash_key: URL_SAFE_NO_PAD.encode(hash_key), keys: Vec::new() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyFileError`] where it is not whole.
    pub fn from_json(text: &str) -> Result<Self, KeyFileError> {
        let file: Self =
            serde_json::from_str(text).map_err(|error| KeyFileError::Malformed(error.to_string()))?;
        if file.version != 1 {
            return Err(KeyFileError::Version(file.version));
        }
        file.hasher()?;
        file.keys.iter().try_for_each(|key| check_id(&key.id).and_then(|()| check_owner(&key.owner)))?;
        Ok(file)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers")
    }

    /// The keys, oldest first.
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// Adds `key`, and gives the id it is revoked by.
    ///
    /// # Errors
    /// [`KeyFileError::Owner`].
    pub fn add(
        &mut self,
        key: &ApiKey,
        owner: &str,
        roles: Vec<Role>,
        now: UnixNanos,
    ) -> Result<String, KeyFileError> {
        check_owner(owner)?;
        let hash = URL_SAFE_NO_PAD.encode(self.hash(key.expose())?);
        let id: String = hash.chars().take(8).collect();
        let entry =
            KeyEntry { id: id.clone(), owner: owner.to_owned(), roles, created_at: now.as_secs(), hash };
        self.keys.push(entry);
        Ok(id)
    }

    /// Removes the key of this id, if there is one.
    pub fn revoke(&mut self, id: &str) -> Option<KeyEntry> {
        let at = self.keys.iter().position(|key| key.id == id)?;
        Some(self.keys.remove(at))
    }

    /// The entry of the key that `text` is. Takes the same time whichever it is, if any.
    pub fn find(&self, text: &str) -> Option<&KeyEntry> {
        if !text.starts_with(PREFIX) || text.len() > MAX_LENGTH {
            return None;
        }
        let hash = URL_SAFE_NO_PAD.encode(self.hash(text).ok()?);
        let mut found = None;
        for key in &self.keys {
            if key.hash.as_bytes().ct_eq(hash.as_bytes()).into() {
                found = Some(key);
            }
        }
        found
    }

    /// The entry of the key of this id.
    pub fn by_id(&self, id: &str) -> Option<&KeyEntry> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Whether `holder` holds one of these keys.
    pub fn has(&self, holder: &Holder) -> bool {
        self.by_id(&holder.key).is_some_and(|key| holder.owner == key.owner)
    }

    fn hash(&self, text: &str) -> Result<[u8; 32], KeyFileError> {
        let mut hasher = self.hasher()?;
        hasher.update(text.as_bytes());
        Ok(hasher.finalize().into_bytes().into())
    }

    fn hasher(&self) -> Result<Blake2bMac<U32>, KeyFileError> {
        let key = URL_SAFE_NO_PAD.decode(&self.hash_key).map_err(|_| KeyFileError::HashKey)?;
        let key: [u8; 32] = key.try_into().map_err(|_| KeyFileError::HashKey)?;
        Blake2bMac::new_from_slice(&key).map_err(|_| KeyFileError::HashKey)
    }
}

/// Tokens carry it.
fn check_id(id: &str) -> Result<(), KeyFileError> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let valid = (1..=ID_BYTES).contains(&id.len()) && id.bytes().all(named);
    if valid { Ok(()) } else { Err(KeyFileError::Id(id.chars().take(80).collect())) }
}

fn check_owner(owner: &str) -> Result<(), KeyFileError> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    let valid = (1..=64).contains(&owner.len()) && owner.bytes().all(named);
    if valid { Ok(()) } else { Err(KeyFileError::Owner(owner.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

    fn file() -> (KeyFile, ApiKey) {
        let hash_key: Vec<u8> = (0..32).collect();
        let mut file = KeyFile::new(hash_key.try_into().expect("32 bytes"));
        let key = ApiKey::from_random([7; 32]);
        file.add(&key, "ann", vec![Role::Publisher], NOW).expect("added");
        (file, key)
    }

    #[test]
    fn a_key_is_kept_as_a_keyed_hash() {
        let (file, key) = file();
        assert_eq!(key.expose(), "bond_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        let json: serde_json::Value = serde_json::from_str(&file.to_json()).expect("json");
        let expected = serde_json::json!({
            "version": 1,
            "hash_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "keys": [{
                "id": "bEPz35-2",
                "owner": "ann",
                "roles": ["publisher"],
                "created_at": 1_700_000_000,
                // Made with Python's `hashlib.blake2b`.
                "hash": "bEPz35-2MAhmshF62c8nmxeGWhs8V3hOIOyJ3ha66YM",
            }],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_key_is_found_by_its_text_alone() {
        let (mut file, key) = file();
        let other = ApiKey::from_random([8; 32]);
        file.add(&other, "bob", vec![], NOW).expect("added");
        let file = KeyFile::from_json(&file.to_json()).expect("read back");
        let owner = |text: &str| file.find(text).map(|entry| entry.owner.clone());
        assert_eq!(owner(key.expose()).as_deref(), Some("ann"));
        assert_eq!(owner(other.expose()).as_deref(), Some("bob"));
        for text in ["", "bond_", "bond_BwcH", &key.expose().replace("bond_", ""), &file.keys()[0].hash] {
            assert_eq!(owner(text), None, "{text}");
        }
    }

    #[test]
    fn a_revoked_key_is_gone() {
        let (mut file, key) = file();
        let holder = file.find(key.expose()).expect("found").holder();
        assert!(file.has(&holder) && !file.has(&Holder { owner: "bob".into(), ..holder.clone() }));
        assert!(file.revoke("unknown").is_none());
        let revoked = file.revoke("bEPz35-2").expect("revoked");
        assert_eq!(revoked.owner, "ann");
        assert!(file.find(key.expose()).is_none() && !file.has(&holder));
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused() {
        let (file, _) = file();
        let text = file.to_json();
        for (from, to, error) in [
            ("\"version\": 1", "\"version\": 2", "version 2"),
            ("AAECAwQF", "!!", "hash_key"),
            ("\"ann\"", "\"\"", "an owner is"),
            ("\"bEPz35-2\"", "\"bEPz.5-2\"", "a key's id is"),
            ("\"publisher\"", "\"king\"", "king"),
            ("\"owner\"", "\"oner\"", "oner"),
        ] {
            let refused = KeyFile::from_json(&text.replace(from, to)).expect_err(to).to_string();
            assert!(refused.contains(error), "{refused}");
        }
    }

    #[test]
    fn an_owner_has_a_plain_name() {
        let (mut file, key) = file();
        for name in ["", "a b", "a/b", &"a".repeat(65)] {
            let refused = file.add(&key, name, vec![], NOW);
            assert!(matches!(refused, Err(KeyFileError::Owner(_))), "{name}");
        }
    }
}
