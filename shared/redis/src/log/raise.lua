-- Raises a partition's fence to a new writer's number. KEYS: fence. ARGV: number. Returns the number that the fence then has.
-- If Redis is not the process that the previous writer took over, its topics may have lost appends that readers saw. `since` is then set:
-- topics whose head was written under a smaller number are not continued, and begin a new epoch.
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
if number >= tonumber(ARGV[1]) then return number end
-- A managed Redis may refuse INFO; all its processes then count as one.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local before = redis.call('HGET', KEYS[1], 'run')
-- The first write needs no memory, so that a full Redis refuses none of them.
redis.call('PERSIST', KEYS[1])
redis.call('HSET', KEYS[1], 'number', ARGV[1], 'run', run)
if before and before ~= run then redis.call('HSET', KEYS[1], 'since', ARGV[1]) end
return tonumber(ARGV[1])
