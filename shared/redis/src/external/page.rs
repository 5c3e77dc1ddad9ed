//! Entries of one stream, as many as one answer holds.

use bytes::Bytes;
use fred::types::Value;

use super::{Entry, EntryId, ForeignError, PREFIX, unexpected};
use crate::client::Redis;
use crate::script::Script;

/// The field that is passed on; an entry without it is passed over.
const FIELD: &str = "data";

/// The most entries read at once.
const PAGE: usize = 1_000;

/// The most bytes read at once, and what the last 64 entries have above it.
const PAGE_BYTES: usize = 1 << 20;

/// One page of entries after a mark, with the stream's last id and the count of all entries ever added.
static READ: Script = Script::new(
    r"
local page, bytes, from, has_more = {}, 0, '(' .. ARGV[1], true
while has_more and #page < tonumber(ARGV[2]) and bytes < tonumber(ARGV[3]) do
  local part = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 64)
  for _, entry in ipairs(part) do
    page[#page + 1] = entry
    for i = 2, #entry[2], 2 do bytes = bytes + #entry[2][i] end
    from = '(' .. entry[1]
  end
  has_more = #part == 64
end
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
local last, added = '0-0', '0'
if not info.err then
  added = ''
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = string.format('%d', info[i + 1]) end
  end
end
return {last, added, page, has_more and 1 or 0}",
);

/// One answer of the script.
pub(super) struct Page {
    /// The stream's last id.
    pub(super) last: EntryId,
    /// How many entries were ever added.
    pub(super) added: u64,
    /// How many entries were read, those without data included.
    pub(super) count: usize,
    /// The id of the last of them.
    pub(super) end: Option<EntryId>,
    pub(super) entries: Vec<Entry>,
    /// Whether there are more after them.
    pub(super) has_more: bool,
}

impl Page {
    pub(super) async fn read(redis: &Redis, stream: &str, after: EntryId) -> Result<Self, ForeignError> {
        let args = vec![after.to_string().into(), PAGE.to_string().into(), PAGE_BYTES.to_string().into()];
        let (last, added, page, has_more): (String, String, Value, bool) =
            READ.run(redis, vec![format!("{PREFIX}{stream}")], args).await?;
        let added = added.parse().map_err(|_| {
            ForeignError::Unfit(
                "this Redis does not count the entries added to a stream: use Redis 7 or Valkey".into(),
            )
        })?;
        let page = list(page)?;
        let count = page.len();
        let mut end = None;
        let mut entries = Vec::with_capacity(count);
        for raw in page {
            let (id, data) = entry(raw)?;
            end = Some(id);
            entries.extend(data.map(|data| Entry { id, data }));
        }
        Ok(Self { last: last.parse()?, added, count, end, entries, has_more })
    }
}

/// An entry's id, and its data where it has any.
fn entry(raw: Value) -> Result<(EntryId, Option<Bytes>), ForeignError> {
    let (id, fields): (String, Value) = raw.convert()?;
    let mut fields = list(fields)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if name.as_bytes().is_some_and(|name| name == FIELD.as_bytes()) {
            return Ok((id.parse()?, Some(value.convert()?)));
        }
    }
    Ok((id.parse()?, None))
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, ForeignError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        _ => Err(unexpected("a list")),
    }
}
