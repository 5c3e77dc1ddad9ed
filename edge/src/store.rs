//! The registry in one local file, or in memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bond_core::store::{Claim, DesiredStream, Labels, StoreError, StreamStore};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use redb::backends::InMemoryBackend;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

/// Stream id → canonical form, spec, creation in Unix nanoseconds.
const STREAMS: TableDefinition<&str, (&str, &str, i64)> = TableDefinition::new("streams");
/// Stream id, owner → when the claim ends, in Unix nanoseconds.
const CLAIMS: TableDefinition<(&str, &str), Option<i64>> = TableDefinition::new("claims");
/// The same by owner, for quotas and lists.
const OWNED: TableDefinition<(&str, &str), Option<i64>> = TableDefinition::new("owned");

/// Stream id, owner → the owner's labels. There is no row if the owner wrote none.
const LABELS: TableDefinition<(&str, &str), &str> = TableDefinition::new("labels");

/// The name of the registry's file in the data directory.
const FILE: &str = "streams.redb";

/// Why the registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be made.
    #[error("cannot create the data directory {path}: {source}", path = .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the file open.
    #[error("another bond process uses {path}: stop it, or give this one another data directory", path = .0.display())]
    Locked(PathBuf),
    /// The file is damaged, or the system refuses it.
    #[error("cannot open the stream registry {path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What redb said.
        source: redb::Error,
    },
}

/// A [`StreamStore`] on redb. A registry in a file survives a restart and a crash; one in memory does not. A clone is another handle.
#[derive(Clone)]
pub struct RedbStore(Arc<Database>);

impl RedbStore {
    /// The registry in `{data_dir}/streams.redb`. The directory and the file are created if they are missing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let directory = |source| OpenError::Directory { path: data_dir.to_owned(), source };
        fs::create_dir_all(data_dir).map_err(directory)?;
        let path = data_dir.join(FILE);
        match Database::create(&path) {
            Ok(database) => Self::with(database),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::Locked(path)),
            Err(error) => Err(error.into()),
        }
        .map_err(|source| OpenError::File { path, source })
    }

    /// A registry in memory.
    ///
    /// # Errors
    /// [`OpenError::File`].
    pub fn in_memory() -> Result<Self, OpenError> {
        let database = Database::builder().create_with_backend(InMemoryBackend::new());
        let store = database.map_err(redb::Error::from).and_then(Self::with);
        store.map_err(|source| OpenError::File { path: PathBuf::from(":memory:"), source })
    }

    /// Creates the tables, so that readers find them.
    fn with(database: Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_write()?;
        Tables::open(&transaction)?;
        transaction.commit()?;
        Ok(Self(Arc::new(database)))
    }

    /// Runs `work` in one transaction, which is rolled back if `work` fails.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables) -> Result<Result<T, StoreError>, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |database| {
            let transaction = database.begin_write()?;
            let outcome = work(&mut Tables::open(&transaction)?)?;
            if outcome.is_ok() {
                transaction.commit()?;
            }
            Ok(outcome)
        })
        .await?
    }

    /// Runs `work` on a thread that may block on the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = Arc::clone(&self.0);
        #[expect(clippy::disallowed_methods, reason = "whoever asked waits for it")]
        let done = tokio::task::spawn_blocking(move || work(&database)).await;
        let done = done.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        done.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

/// The tables within one write transaction.
struct Tables<'t> {
    streams: Table<'t, &'static str, (&'static str, &'static str, i64)>,
    claims: Table<'t, (&'static str, &'static str), Option<i64>>,
    owned: Table<'t, (&'static str, &'static str), Option<i64>>,
    labels: Table<'t, (&'static str, &'static str), &'static str>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            streams: transaction.open_table(STREAMS)?,
            claims: transaction.open_table(CLAIMS)?,
            owned: transaction.open_table(OWNED)?,
            labels: transaction.open_table(LABELS)?,
        })
    }

    fn claim(
        &mut self,
        stream: DesiredStream,
        claim: &Claim,
        quota: usize,
        now: UnixNanos,
    ) -> Result<Result<(DesiredStream, bool), StoreError>, redb::Error> {
        self.drop_expired(&stream.id, now)?;
        let found = read_stream(&self.streams, &stream.id)?;
        if found.as_ref().is_some_and(|found| found.canonical != stream.canonical) {
            return Ok(Err(StoreError::Conflict(stream.id)));
        }
        let owned = owned_ids(&self.owned, &claim.owner, "", quota.saturating_add(1), now)?;
        if owned.iter().filter(|id| **id != stream.id).count() >= quota {
            return Ok(Err(StoreError::Quota { limit: quota }));
        }
        self.put_claim(&stream.id, claim)?;
        let Some(found) = found else {
            self.put_stream(&stream)?;
            return Ok(Ok((stream, true)));
        };
        Ok(Ok((found, false)))
    }

    fn put_stream(&mut self, stream: &DesiredStream) -> Result<(), redb::Error> {
        let row = (stream.canonical.as_str(), stream.spec.as_str(), stream.created_at.as_nanos());
        self.streams.insert(stream.id.as_str(), row)?;
        Ok(())
    }

    fn put_claim(&mut self, id: &StreamId, claim: &Claim) -> Result<(), redb::Error> {
        let expires_at = claim.expires_at.map(UnixNanos::as_nanos);
        self.claims.insert((id.as_str(), claim.owner.as_str()), expires_at)?;
        self.owned.insert((claim.owner.as_str(), id.as_str()), expires_at)?;
        let (key, labels) = ((id.as_str(), claim.owner.as_str()), claim.labels.to_text());
        if labels.is_empty() {
            self.labels.remove(key)?;
        } else {
            self.labels.insert(key, labels.as_str())?;
        }
        Ok(())
    }

    fn drop_claim(&mut self, id: &StreamId, owner: &str) -> Result<bool, redb::Error> {
        self.owned.remove((owner, id.as_str()))?;
        self.labels.remove((id.as_str(), owner))?;
        let dropped = self.claims.remove((id.as_str(), owner))?.is_some();
        Ok(dropped)
    }

    fn release(&mut self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<Option<bool>, redb::Error> {
        self.drop_expired(id, now)?;
        if !self.drop_claim(id, owner)? {
            return Ok(None);
        }
        self.drop_if_unclaimed(id).map(Some)
    }

    /// Drops the claims on `id` that have expired, and the stream if no claim is left.
    fn drop_expired(&mut self, id: &StreamId, now: UnixNanos) -> Result<(), redb::Error> {
        for claim in claims_of(&self.claims, id)? {
            if !is_live(&claim, now) {
                self.drop_claim(id, &claim.owner)?;
            }
        }
        self.drop_if_unclaimed(id)?;
        Ok(())
    }

    fn drop_if_unclaimed(&mut self, id: &StreamId) -> Result<bool, redb::Error> {
        let unclaimed = claims_of(&self.claims, id)?.is_empty();
        if unclaimed {
            self.streams.remove(id.as_str())?;
        }
        Ok(unclaimed)
    }
}

fn is_live(claim: &Claim, now: UnixNanos) -> bool {
    claim.expires_at.is_none_or(|end| end > now)
}

fn read_stream(
    streams: &impl ReadableTable<&'static str, (&'static str, &'static str, i64)>,
    id: &StreamId,
) -> Result<Option<DesiredStream>, redb::Error> {
    let Some(row) = streams.get(id.as_str())? else { return Ok(None) };
    let (canonical, spec, created_at) = row.value();
    Ok(Some(DesiredStream {
        id: id.clone(),
        canonical: canonical.to_owned(),
        spec: spec.to_owned(),
        created_at: UnixNanos::from_nanos(created_at),
    }))
}

fn read_labels(
    labels: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    id: &StreamId,
    owner: &str,
) -> Result<Labels, redb::Error> {
    let Some(row) = labels.get((id.as_str(), owner))? else { return Ok(Labels::default()) };
    Labels::from_text(row.value()).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

/// All claims on a stream, including expired ones, without their labels.
fn claims_of(
    claims: &impl ReadableTable<(&'static str, &'static str), Option<i64>>,
    id: &StreamId,
) -> Result<Vec<Claim>, redb::Error> {
    let mut found = Vec::new();
    for row in claims.range((id.as_str(), "")..)? {
        let (key, expires_at) = row?;
        let (of, owner) = key.value();
        if of != id.as_str() {
            break;
        }
        let expires_at = expires_at.value().map(UnixNanos::from_nanos);
        found.push(Claim { owner: owner.to_owned(), expires_at, labels: Labels::default() });
    }
    Ok(found)
}

/// At most `limit` ids of an owner's streams, in order, beginning with `from`.
fn owned_ids(
    owned: &impl ReadableTable<(&'static str, &'static str), Option<i64>>,
    owner: &str,
    from: &str,
    limit: usize,
    now: UnixNanos,
) -> Result<Vec<StreamId>, redb::Error> {
    let mut ids = Vec::new();
    for row in owned.range((owner, from)..)? {
        let (key, expires_at) = row?;
        let (of, id) = key.value();
        if of != owner || ids.len() == limit {
            break;
        }
        if expires_at.value().is_none_or(|end| end > now.as_nanos()) {
            ids.extend(StreamId::parse(id));
        }
    }
    Ok(ids)
}

#[async_trait]
impl StreamStore for RedbStore {
    async fn claim(
        &self,
        stream: DesiredStream,
        claim: Claim,
        quota: usize,
        now: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        self.write(move |tables| tables.claim(stream, &claim, quota, now)).await
    }

    async fn release(&self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<Option<bool>, StoreError> {
        let (id, owner) = (id.clone(), owner.to_owned());
        self.write(move |tables| tables.release(&id, &owner, now).map(Ok)).await
    }

    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        let id = id.clone();
        self.blocking(move |database| {
            let transaction = database.begin_read()?;
            let mut claims = claims_of(&transaction.open_table(CLAIMS)?, &id)?;
            claims.retain(|claim| is_live(claim, now));
            let labels = transaction.open_table(LABELS)?;
            for claim in &mut claims {
                claim.labels = read_labels(&labels, &id, &claim.owner)?;
            }
            let stream = read_stream(&transaction.open_table(STREAMS)?, &id)?;
            Ok(stream.filter(|_| !claims.is_empty()).map(|stream| (stream, claims)))
        })
        .await
    }

    async fn list(
        &self,
        owner: &str,
        after: Option<&StreamId>,
        limit: usize,
        now: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError> {
        let (owner, after) = (owner.to_owned(), after.cloned());
        self.blocking(move |database| page(database, &owner, after.as_ref(), limit, now)).await
    }

    async fn desired(&self, now: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        let (streams, expired) = self.blocking(move |database| survey(database, now)).await?;
        if !expired.is_empty() {
            let drop_all =
                move |tables: &mut Tables| expired.iter().try_for_each(|id| tables.drop_expired(id, now));
            self.write(move |tables| drop_all(tables).map(Ok)).await?;
        }
        Ok(streams)
    }
}

/// A page of an owner's streams, each with the owner's claim.
fn page(
    database: &Database,
    owner: &str,
    after: Option<&StreamId>,
    limit: usize,
    now: UnixNanos,
) -> Result<Vec<(DesiredStream, Claim)>, redb::Error> {
    let transaction = database.begin_read()?;
    let (streams, owned) = (transaction.open_table(STREAMS)?, transaction.open_table(OWNED)?);
    let labels = transaction.open_table(LABELS)?;
    let mut ids = owned_ids(&owned, owner, after.map_or("", StreamId::as_str), limit.saturating_add(1), now)?;
    ids.retain(|id| Some(id) != after);
    ids.truncate(limit);
    let mut page = Vec::with_capacity(ids.len());
    for id in &ids {
        let Some(stream) = read_stream(&streams, id)? else { continue };
        let end = owned.get((owner, id.as_str()))?.and_then(|end| end.value());
        let expires_at = end.map(UnixNanos::from_nanos);
        let labels = read_labels(&labels, id, owner)?;
        page.push((stream, Claim { owner: owner.to_owned(), expires_at, labels }));
    }
    Ok(page)
}

/// The streams that exist, and the ids of streams with expired claims.
fn survey(database: &Database, now: UnixNanos) -> Result<(Vec<DesiredStream>, Vec<StreamId>), redb::Error> {
    let transaction = database.begin_read()?;
    let (table, claims) = (transaction.open_table(STREAMS)?, transaction.open_table(CLAIMS)?);
    let (mut streams, mut expired) = (Vec::new(), Vec::new());
    for row in table.iter()? {
        let Some(id) = StreamId::parse(row?.0.value()) else { continue };
        let claims = claims_of(&claims, &id)?;
        if claims.iter().any(|claim| is_live(claim, now)) {
            streams.extend(read_stream(&table, &id)?);
        }
        if !claims.iter().all(|claim| is_live(claim, now)) {
            expired.push(id);
        }
    }
    Ok((streams, expired))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bond_core::suites::stream_store::{self, Harness};
    use parking_lot::Mutex;
    use tempfile::TempDir;

    use super::*;

    struct InMemory(Mutex<RedbStore>);

    #[async_trait]
    impl Harness for InMemory {
        async fn empty(&self) -> Arc<dyn StreamStore> {
            *self.0.lock() = RedbStore::in_memory().expect("store");
            self.open().await
        }

        async fn open(&self) -> Arc<dyn StreamStore> {
            Arc::new(self.0.lock().clone())
        }

        async fn restart(&self) -> Option<Arc<dyn StreamStore>> {
            None
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn behaves_as_a_stream_store_in_memory() {
        stream_store::run(&InMemory(Mutex::new(RedbStore::in_memory().expect("store")))).await;
    }

    /// Registries in files; a crash is played by opening a copy of a file that was never closed.
    struct InFiles {
        root: TempDir,
        made: AtomicUsize,
        open: Mutex<Option<RedbStore>>,
    }

    impl InFiles {
        fn directory(&self, n: usize) -> PathBuf {
            self.root.path().join(n.to_string())
        }

        fn next(&self) -> usize {
            self.made.fetch_add(1, Ordering::Relaxed) + 1
        }

        fn keep(&self, n: usize) -> Arc<dyn StreamStore> {
            let store = RedbStore::open(&self.directory(n)).expect("store");
            *self.open.lock() = Some(store.clone());
            Arc::new(store)
        }
    }

    #[async_trait]
    impl Harness for InFiles {
        async fn empty(&self) -> Arc<dyn StreamStore> {
            self.keep(self.next())
        }

        async fn open(&self) -> Arc<dyn StreamStore> {
            Arc::new(self.open.lock().clone().expect("a store"))
        }

        async fn restart(&self) -> Option<Arc<dyn StreamStore>> {
            let crashed = self.directory(self.made.load(Ordering::Relaxed)).join(FILE);
            let next = self.next();
            fs::create_dir_all(self.directory(next)).expect("directory");
            fs::copy(crashed, self.directory(next).join(FILE)).expect("copy");
            Some(self.keep(next))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn behaves_as_a_stream_store_in_a_file() {
        let root = TempDir::new().expect("directory");
        stream_store::run(&InFiles { root, made: AtomicUsize::new(0), open: Mutex::new(None) }).await;
    }

    #[test]
    fn a_file_in_use_is_named() {
        let root = TempDir::new().expect("directory");
        let _held = RedbStore::open(root.path()).expect("store");
        let error = RedbStore::open(root.path()).err().expect("a second one is refused").to_string();
        assert!(error.contains("another bond process") && error.contains(FILE), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let root = TempDir::new().expect("directory");
        fs::write(root.path().join(FILE), "not a database").expect("write");
        let error = RedbStore::open(root.path()).err().expect("refused").to_string();
        assert!(error.starts_with("cannot open the stream registry") && error.contains(FILE), "{error}");
    }
}
