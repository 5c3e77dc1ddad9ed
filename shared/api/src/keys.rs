//! API keys: from a file that a running edge reads and `bond key` edits, or given by the host.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bond_core::api_key::{ApiKey, Holder, KeyEntry, KeyFile, KeyFileError, Role};
use bond_core::time::UnixNanos;
use parking_lot::Mutex;

/// The name of the file in the data directory.
pub const FILE: &str = "keys.json";

/// The least time between two checks of a running edge whether the file has changed.
pub const RECHECK: Duration = Duration::from_secs(1);

/// Why the file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's content cannot be used, or what was to be added to it.
    #[error("cannot use {path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: KeyFileError,
    },
    /// Another `bond key` edits the file, or died while it did.
    #[error("{path} exists: another `bond key` is at work; remove it if none is", path = .0.display())]
    Busy(PathBuf),
}

/// The keys that are valid now. A file is read again when it changes.
///
/// If the file becomes unreadable, the keys that were read last stay valid. Once there was a file, keys are required, even if the file is
/// removed.
#[derive(Debug)]
pub struct Keys {
    /// The file; `None` if the host gives the keys.
    path: Option<PathBuf>,
    recheck: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<KeyFile>,
    stamp: Option<Stamp>,
    checked: Instant,
    /// The number of changes of the keys.
    version: u64,
}

/// Identifies a version of the file: time of change and size.
type Stamp = (SystemTime, u64);

impl Keys {
    /// The keys in `{data_dir}/keys.json`. The file need not exist; it is checked for changes at most once per `recheck`.
    ///
    /// # Errors
    /// [`KeysError`] if the file exists but cannot be used.
    pub fn open(data_dir: &Path, recheck: Duration) -> Result<Self, KeysError> {
        let path = data_dir.join(FILE);
        let stamp = stamp(&path);
        let file = read(&path)?;
        Ok(Self {
            path: Some(path),
            recheck,
            state: Mutex::new(State { file, stamp, checked: Instant::now(), version: 0 }),
        })
    }

    /// These keys, without a file, until they are replaced. Keys are required then, even if the list is empty.
    pub fn given(file: KeyFile) -> Self {
        let state = State { file: Some(file), stamp: None, checked: Instant::now(), version: 0 };
        Self { path: None, recheck: Duration::MAX, state: Mutex::new(state) }
    }

    /// Replaces the keys that were [given](Keys::given).
    pub fn replace(&self, file: KeyFile) {
        self.state.lock().put(file);
    }

    /// Whether keys are required: there is, or was, a file of them.
    pub fn are_required(&self) -> bool {
        self.current(|state| state.file.is_some())
    }

    /// A number that changes with the keys.
    pub fn version(&self) -> u64 {
        self.current(|state| state.version)
    }

    /// The entry of the key with this text.
    pub fn find(&self, text: &str) -> Option<KeyEntry> {
        self.current(|state| state.file.as_ref()?.find(text).cloned())
    }

    /// The entry of the key of this id.
    pub fn by_id(&self, id: &str) -> Option<KeyEntry> {
        self.current(|state| state.file.as_ref()?.by_id(id).cloned())
    }

    /// Whether `holder` has a key that is valid now.
    pub fn has(&self, holder: &Holder) -> bool {
        self.current(|state| state.file.as_ref().is_some_and(|file| file.has(holder)))
    }

    fn current<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.state.lock();
        if let Some(path) = &self.path
            && state.checked.elapsed() >= self.recheck
        {
            state.checked = Instant::now();
            state.reread(path);
        }
        look(&state)
    }
}

impl State {
    fn put(&mut self, file: KeyFile) {
        self.version += u64::from(self.file.as_ref() != Some(&file));
        self.file = Some(file);
    }

    fn reread(&mut self, path: &Path) {
        let stamp = stamp(path);
        if stamp == self.stamp {
            return;
        }
        match read(path) {
            Ok(Some(file)) => self.put(file),
            Ok(None) => tracing::warn!("{} is gone; its keys stay good until a restart", path.display()),
            Err(error) => tracing::error!("{error}; the keys read before stay good"),
        }
        self.stamp = stamp;
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Option<KeyFile>, KeysError> {
    match fs::read_to_string(path) {
        Ok(text) => KeyFile::from_json(&text).map(Some).map_err(|source| invalid(path, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeysError {
    |source| KeysError::Io { path: path.to_owned(), source }
}

fn invalid(path: &Path, source: KeyFileError) -> KeysError {
    KeysError::File { path: path.to_owned(), source }
}

/// Randomness for a new key, and for the file if it is the first one.
#[derive(Debug)]
pub struct KeyRandom {
    /// What the key is made of.
    pub key: [u8; 32],
    /// What the file's hashes are keyed with.
    pub hash_key: [u8; 32],
}

/// Adds a key to the file in `data_dir`, and returns it. The key cannot be shown again later.
///
/// # Errors
/// [`KeysError`].
pub fn create(
    data_dir: &Path,
    owner: &str,
    roles: Vec<Role>,
    random: &KeyRandom,
    now: UnixNanos,
) -> Result<ApiKey, KeysError> {
    fs::create_dir_all(data_dir).map_err(failed(data_dir))?;
    let path = data_dir.join(FILE);
    let key = ApiKey::from_random(random.key);
    edit(&path, |file| {
        // A deployment begins with a file without keys, whose hash key is publicly known.
        let file = match file {
            Some(file) if *file != KeyFile::new([0; 32]) => file,
            none => none.insert(KeyFile::new(random.hash_key)),
        };
        file.add(&key, owner, roles, now).map_err(|source| invalid(&path, source))
    })?;
    Ok(key)
}

/// The keys in the file in `data_dir`, oldest first.
///
/// # Errors
/// [`KeysError`].
pub fn list(data_dir: &Path) -> Result<Vec<KeyEntry>, KeysError> {
    let file = read(&data_dir.join(FILE))?;
    Ok(file.map(|file| file.keys().to_vec()).unwrap_or_default())
}

/// Removes the key of this id from the file in `data_dir`; `None` if there is none.
///
/// # Errors
/// [`KeysError`].
pub fn revoke(data_dir: &Path, id: &str) -> Result<Option<KeyEntry>, KeysError> {
    if list(data_dir)?.iter().all(|key| key.id != id) {
        return Ok(None);
    }
    edit(&data_dir.join(FILE), |file| Ok(file.as_mut().and_then(|file| file.revoke(id))))
}

/// Reads, changes and replaces the file atomically. The new content is first written to a second file, whose existence keeps other
/// editors out.
fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut Option<KeyFile>) -> Result<T, KeysError>,
) -> Result<T, KeysError> {
    let draft = path.with_extension("json.new");
    let mut writer = open_draft(&draft)?;
    let edited = rewrite(path, &mut writer, change).and_then(|done| {
        fs::rename(&draft, path).map_err(failed(path))?;
        Ok(done)
    });
    if edited.is_err() {
        drop(fs::remove_file(&draft));
    }
    edited
}

fn rewrite<T>(
    path: &Path,
    draft: &mut fs::File,
    change: impl FnOnce(&mut Option<KeyFile>) -> Result<T, KeysError>,
) -> Result<T, KeysError> {
    let mut file = read(path)?;
    let done = change(&mut file)?;
    let text = file.as_ref().map(KeyFile::to_json).unwrap_or_default();
    draft.write_all(text.as_bytes()).and_then(|()| draft.sync_all()).map_err(failed(path))?;
    Ok(done)
}

fn open_draft(path: &Path) -> Result<fs::File, KeysError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeysError::Busy(path.to_owned()),
        _ => failed(path)(error),
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

    fn create_key(dir: &TempDir, n: u8, owner: &str) -> ApiKey {
        let random = KeyRandom { key: [n; 32], hash_key: [n; 32] };
        create(dir.path(), owner, vec![], &random, NOW).expect("a key")
    }

    fn open(dir: &TempDir) -> Keys {
        Keys::open(dir.path(), Duration::ZERO).expect("keys")
    }

    fn owner(keys: &Keys, key: &ApiKey) -> Option<String> {
        keys.find(key.expose()).map(|entry| entry.owner)
    }

    #[test]
    fn a_running_edge_sees_what_the_command_does() {
        let dir = TempDir::new().expect("directory");
        let keys = open(&dir);
        assert!(!keys.are_required(), "without a file none are required");
        let ann = create_key(&dir, 1, "ann");
        let bob = create_key(&dir, 2, "bob");
        assert!(keys.are_required());
        assert_eq!((owner(&keys, &ann), owner(&keys, &bob)), (Some("ann".into()), Some("bob".into())));
        let entry = list(dir.path()).expect("list")[0].clone();
        let (id, version) = (entry.id.clone(), keys.version());
        assert!(keys.has(&entry.holder()));
        assert_eq!(keys.version(), version, "nothing changed");
        assert_eq!(revoke(dir.path(), &id).expect("revoke").expect("an entry").owner, "ann");
        assert!(keys.version() > version && !keys.has(&entry.holder()));
        assert_eq!((owner(&keys, &ann), owner(&keys, &bob)), (None, Some("bob".into())));
        assert_eq!(revoke(dir.path(), &id).expect("revoke"), None, "a key is revoked once");
    }

    #[test]
    fn a_file_is_looked_at_now_and_then_only() {
        let dir = TempDir::new().expect("directory");
        let keys = Keys::open(dir.path(), Duration::from_secs(3600)).expect("keys");
        create_key(&dir, 1, "ann");
        assert!(!keys.are_required());
    }

    #[test]
    fn keys_that_the_host_brings_are_required_and_replaced_whole() {
        let (ann, bob) = (ApiKey::from_random([1; 32]), ApiKey::from_random([2; 32]));
        let of = |key: &ApiKey, name: &str| {
            let mut file = KeyFile::new([0; 32]);
            file.add(key, name, vec![], NOW).expect("added");
            file
        };
        let keys = Keys::given(of(&ann, "ann"));
        assert_eq!((owner(&keys, &ann), owner(&keys, &bob)), (Some("ann".into()), None));
        keys.replace(of(&bob, "bob"));
        assert_eq!((owner(&keys, &ann), owner(&keys, &bob)), (None, Some("bob".into())));
        assert!(Keys::given(KeyFile::new([0; 32])).are_required());
    }

    #[test]
    fn a_file_that_breaks_or_goes_opens_nothing() {
        let dir = TempDir::new().expect("directory");
        let ann = create_key(&dir, 1, "ann");
        let keys = open(&dir);
        fs::write(dir.path().join(FILE), "{").expect("write");
        assert_eq!(owner(&keys, &ann).as_deref(), Some("ann"));
        fs::remove_file(dir.path().join(FILE)).expect("remove");
        assert!(keys.are_required());
        assert_eq!(owner(&keys, &ann).as_deref(), Some("ann"));
        fs::write(dir.path().join(FILE), "{").expect("write");
        let refused = Keys::open(dir.path(), Duration::ZERO).expect_err("refused").to_string();
        assert!(refused.contains(FILE) && refused.contains("not a key file"), "{refused}");
    }

    #[test]
    fn the_last_key_revoked_still_requires_keys() {
        let dir = TempDir::new().expect("directory");
        create_key(&dir, 1, "ann");
        let id = list(dir.path()).expect("list")[0].id.clone();
        revoke(dir.path(), &id).expect("revoke");
        assert!(open(&dir).are_required());
    }

    #[test]
    fn only_its_owner_reads_the_file_and_one_edits_it() {
        let dir = TempDir::new().expect("directory");
        create_key(&dir, 1, "ann");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(FILE)).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let refused = create(dir.path(), "a b", vec![], &KeyRandom { key: [2; 32], hash_key: [2; 32] }, NOW);
        assert!(refused.is_err_and(|error| error.to_string().contains("an owner is")));
        assert_eq!(
            fs::read_dir(dir.path()).expect("directory").count(),
            1,
            "a refused edit leaves nothing behind"
        );
        fs::write(dir.path().join("keys.json.new"), "").expect("write");
        let refused = create(dir.path(), "bob", vec![], &KeyRandom { key: [2; 32], hash_key: [2; 32] }, NOW);
        assert!(matches!(refused, Err(KeysError::Busy(_))), "an edit in progress is not trampled");
    }

    #[test]
    fn what_a_deployment_begins_with_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join(FILE);
        fs::write(&path, KeyFile::new([0; 32]).to_json()).expect("written");
        let key = create_key(&dir, 7, "ann");
        let made = read(&path).expect("read").expect("a file");
        assert!(made.find(key.expose()).is_some());
        let mut expected = KeyFile::new([7; 32]);
        expected.add(&key, "ann", vec![], NOW).expect("added");
        assert_eq!(made, expected);
    }
}
