-- Appends items to a topic, for a published topic together with the state that they make. The script checks that the caller is still the
-- writer, that this append was not carried out before, and that no number is used twice. Then it adds the items, and drops the oldest
-- ones if the topic has become too old or too large.
--
-- KEYS:
--   fence   of the topic's partition: `number`, the greatest fencing number seen; `run`, the Redis process that the writer took over;
--           `since`, the fencing number of the first writer after that process had changed
--   topics  the epoch of every topic
--   head    of the topic, see the HSET at the end
--   log     a stream. Event 7 has the id 7-0, and the statuses after event 7 have the ids 7-1, 7-2, ...
--   For a published topic, `topics` is the index of published topics, a sorted set, and there are also
--   state   the position that the state belongs to, and the state behind ` =`
--   key     only if the batch has a key: when and where it was appended, and its digest
-- ARGV:
--   1 number, 2 writer        the caller's fencing number, and a random number of the caller's process
--   3 mark                    the number of this append among the writer's; an append that is repeated keeps its mark
--   4 at, 5 cutoff            now, and the time before which items are dropped
--   6 bytes, 7 ttl_ms         the bound of the topic's size, and how long the log outlives its last append
--   8 new epoch               the name of the epoch, if one has to begin
--   9, 10 acknowledged        the epoch and the last number that the writer knows to be appended; empty and 0 if it knows of none
--   11 unsure                 1 if the answer to an earlier append was lost
--   12 topic                  its name
--   13 least, 14 cutoff       of a published topic, else empty: how many items outlive the cutoff 5, and for how long
--   15 topic_ttl_ms           of a published topic, else empty: how long it is kept after its last batch
--   of a publication, else empty:
--   16 after, 17 state        the head that the state was computed from (`-`: none), and the new state behind `=` (empty: none)
--   18 ts, 19 entry           the time of the last event, and the entry of a foreign stream that it was read from
--   20 digest                 of the batch, if it has a key
--   21 cutoff, 22 ttl_ms      the time before which a key is forgotten, and how long that takes
--   23 ...                    for each item a header (empty for a status), a body and the changes
-- Times have 19 digits, so that they compare as texts. A Lua number cannot hold them exactly.
--
-- Returns one of
--   {'done', epoch, seq, bytes}  appended: the number of the first event (for a status alone, of the event before it) and the topic's size
--   {'fenced'}                   a writer with a greater number has taken over
--   {'stale'}                    a later append of this writer was carried out already
--   {'none'}                     a status for a topic without history: there is no event that it could follow
--   {'repeated', epoch, first, last}  a batch of this key was appended before, there
--   {'reused'}                   another batch was appended by this key
--   {'moved'}                    the head is not the one that the state was computed from
--
-- For example, the head is epoch `e1`, seq 7, and a writer appends two events, then one status: the log gets 8-0, 9-0 and 9-1, and the
-- answer is {'done', 'e1', 8, ...}. If the answer is lost, the writer repeats the call with the same mark and gets the same answer,
-- without a second copy. If Redis was restarted from a backup in which seq is 5, while the writer knows that 7 was appended, clients may
-- have seen 6 and 7. Going on with 6 would give the same numbers to other events, so a new epoch begins.
local FIRST_ITEM = 23
local least, least_cutoff, topic_ttl = tonumber(ARGV[13]) or 0, ARGV[14], tonumber(ARGV[15])
local after, state, ts, entry, digest = ARGV[16], ARGV[17], ARGV[18], ARGV[19], ARGV[20]
local publishes = after ~= ''

-- 1. Is the caller still the writer?
local known = redis.call('HMGET', KEYS[1], 'number', 'since', 'run')
local number = tonumber(known[1] or 0)
if number > tonumber(ARGV[1]) then return {'fenced'} end
if number < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'number', ARGV[1]) end

local head = redis.call('HMGET', KEYS[3], 'epoch', 'seq', 'kept', 'at', 'bytes', 'oldest', 'number', 'writer', 'mark', 'first', 'entry')
local epoch, seq, kept = head[1], tonumber(head[2] or 0), tonumber(head[3] or 0)
local last_at, bytes, oldest = head[4] or '', tonumber(head[5] or 0), head[6] or ''

-- 2. Was this very append carried out before, by a call whose answer was lost? Then the answer is given again.
if epoch and head[8] == ARGV[2] then
    if tonumber(head[9]) == tonumber(ARGV[3]) then return {'done', epoch, tonumber(head[10]), bytes} end
    if tonumber(head[9]) > tonumber(ARGV[3]) then return {'stale'} end
end

-- The Redis process. A managed Redis may refuse INFO; all its processes then count as the same one.
local function run()
    local info = redis.pcall('INFO', 'server')
    return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- 3. Has Redis lost appends that readers may have seen? Going on would then use their numbers again.
local function is_behind()
    -- The state belongs to another position than the head.
    if publishes and string.match(redis.call('GETRANGE', KEYS[5], 0, 63), '^%w+:%d+') ~= epoch .. ':' .. head[2] then return true end
    -- The writer knows of a greater number, or of another epoch, than this head has.
    if ARGV[9] ~= '' and (ARGV[9] ~= epoch or tonumber(ARGV[10]) > seq) then return true end
    -- The head was written before Redis was replaced, and may lack appends of the previous writer.
    if tonumber(head[7]) < tonumber(known[2] or 0) then return true end
    -- An answer was lost, and Redis is not the process that this writer took over: what it had appended may be lost too.
    return ARGV[11] == '1' and run() ~= known[3]
end

-- Was a batch of the same key appended before?
if digest ~= '' then
    local kept_at, of, from, to, by = string.match(redis.call('GET', KEYS[6]) or '', '^(%d+) (%w+) (%d+) (%d+) (.*)$')
    if kept_at and kept_at >= ARGV[21] then return by == digest and {'repeated', of, tonumber(from), tonumber(to)} or {'reused'} end
end

-- Puts a published topic into the index. It also removes some others that have expired, so that the index does not grow for ever.
local function list()
    for _, name in ipairs(redis.call('ZRANDMEMBER', KEYS[2], 4)) do
        local head_of = string.sub(KEYS[3], 1, -#ARGV[12] - 1) .. name
        if redis.call('EXISTS', head_of) == 0 then redis.call('ZREM', KEYS[2], name) end
    end
    redis.call('ZADD', KEYS[2], 0, ARGV[12])
end

-- A new epoch begins with its first event. What a publication was computed from has to be read again first.
if not epoch or is_behind() then
    if ARGV[FIRST_ITEM] == '' then return {'none'} end
    redis.call('DEL', KEYS[4])
    if publishes then redis.call('DEL', KEYS[3], KEYS[5]) end
    if publishes and after ~= '-' then return {'moved'} end
    epoch, seq, kept, last_at, bytes, oldest, head[11] = ARGV[8], 0, 0, '', 0, '', false
    if topic_ttl then
        list()
    else
        redis.call('HSET', KEYS[2], ARGV[12], epoch)
        redis.call('PUBLISH', 'bond:topics', ARGV[12])
    end
elseif publishes and after ~= epoch .. ':' .. head[2] then
    return {'moved'}
end

-- Times never go back within a topic, even if the writer's clock does.
local at = ARGV[4] < last_at and last_at or ARGV[4]
local left = redis.call('XLEN', KEYS[4])
if left == 0 then bytes, oldest = 0, at end

-- The size of an item, given as {name, value, ...}: its values and 64 bytes besides.
local function weight(fields)
    local sum = 64
    for i = 2, #fields, 2 do sum = sum + #fields[i] end
    return sum
end

local function add(id, fields)
    redis.call('XADD', KEYS[4], id, unpack(fields))
    bytes = bytes + weight(fields)
    left = left + 1
end

-- 4. Add the items.
local first = ARGV[FIRST_ITEM] == '' and seq or seq + 1
for i = FIRST_ITEM, #ARGV, 3 do
    if ARGV[i] == '' then
        kept = kept + 1
        add(string.format('%.0f-%.0f', seq, kept), {'a', at, 'b', ARGV[i + 1]})
    else
        seq, kept = seq + 1, 0
        local fields = {'a', at, 'h', ARGV[i], 'b', ARGV[i + 1]}
        if ARGV[i + 2] ~= '' then fields[7], fields[8] = 'c', ARGV[i + 2] end
        add(string.format('%.0f-0', seq), fields)
    end
end

-- 5. Drop the oldest items while the topic is too old or too large, but keep the newest. One call drops at most twice as many items as
-- it adds, and 64 more, so that no append takes long; the rest goes with the next appends.
local cutoff, bound = ARGV[5], tonumber(ARGV[6])
local function is_over()
    return bytes > bound or oldest < cutoff and (left > least or oldest < least_cutoff)
end
local items = (#ARGV - FIRST_ITEM + 1) / 3
local budget = 2 * items + 64
while budget > 0 and left > 1 and is_over() do
    local dropped
    for _, item in ipairs(redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', math.min(items + 1, 64))) do
        oldest = item[2][2]
        if left == 1 or not is_over() then break end
        bytes, left, budget, dropped = bytes - weight(item[2]), left - 1, budget - 1, item[1]
    end
    if dropped then
        local of, n = string.match(dropped, '^(%d+)-(%d+)$')
        redis.call('XTRIM', KEYS[4], 'MINID', string.format('%s-%.0f', of, n + 1))
    end
end

-- 6. Write the head, and wake those who follow the topic. `kept` counts the statuses after the last event. `oldest` is the time of the
-- oldest item, `first` the number to answer if this append is repeated.
redis.call('HSET', KEYS[3], 'epoch', epoch, 'seq', string.format('%.0f', seq), 'kept', kept, 'at', at,
    'bytes', bytes, 'oldest', oldest, 'number', ARGV[1], 'writer', ARGV[2], 'mark', ARGV[3], 'first', string.format('%.0f', first))
if publishes then
    redis.call('HSET', KEYS[3], 'ts', ts, 'entry', entry ~= '' and entry or head[11] or '')
    redis.call('SET', KEYS[5], string.format('%s:%.0f ', epoch, seq) .. state)
    redis.call('PEXPIRE', KEYS[3], topic_ttl)
    redis.call('PEXPIRE', KEYS[5], topic_ttl)
    if digest ~= '' then
        redis.call('SET', KEYS[6], string.format('%s %s %.0f %.0f ', ARGV[4], epoch, first, seq) .. digest, 'PX', ARGV[22])
    end
end
-- The events must not outlive the head.
local ttl, left_ms = tonumber(ARGV[7]), redis.call('PTTL', KEYS[3])
redis.call('PEXPIRE', KEYS[4], left_ms > 0 and math.min(ttl, left_ms) or ttl)
redis.call('PUBLISH', 'bond:topic:' .. ARGV[12], '')
return {'done', epoch, first, bytes}
