-- Appends items to a topic: checks that the caller is still the writer, that this append was not carried out before, and that no number
-- is used twice. Then it adds the items, and drops the oldest ones if the topic has become too old or too large.
--
-- KEYS:
--   fence   of the topic's partition: `number`, the greatest fencing number seen; `run`, the Redis process that the writer took over;
--           `since`, the fencing number of the first writer after that process had changed
--   topics  the epoch of every topic
--   head    of the topic, see the HSET at the end
--   log     a stream. Event 7 has the id 7-0, and the statuses after event 7 have the ids 7-1, 7-2, ...
-- ARGV:
--   1 number, 2 writer        the caller's fencing number, and a random number of the caller's process
--   3 mark                    the number of this append among the writer's; an append that is repeated keeps its mark
--   4 at, 5 cutoff            now, and the time before which items are dropped
--   6 bytes, 7 ttl_ms         the bound of the topic's size, and how long the log outlives its last append
--   8 new epoch               the name of the epoch, if one has to begin
--   9, 10 acknowledged        the epoch and the last number that the writer knows to be appended; empty and 0 if it knows of none
--   11 unsure                 1 if the answer to an earlier append was lost
--   12 topic                  its name
--   13 ...                    for each item a header (empty for a status), a body and the changes
-- Times have 19 digits, so that they compare as texts. A Lua number cannot hold them exactly.
--
-- Returns one of
--   {'done', epoch, seq, bytes}  appended: the number of the first event (for a status alone, of the event before it) and the topic's size
--   {'fenced'}                   a writer with a greater number has taken over
--   {'stale'}                    a later append of this writer was carried out already
--   {'none'}                     a status for a topic without history: there is no event that it could follow
--
-- For example, the head is epoch `e1`, seq 7, and a writer appends two events, then one status: the log gets 8-0, 9-0 and 9-1, and the
-- answer is {'done', 'e1', 8, ...}. If the answer is lost, the writer repeats the call with the same mark and gets the same answer,
-- without a second copy. If Redis was restarted from a backup in which seq is 5, while the writer knows that 7 was appended, clients may
-- have seen 6 and 7. Going on with 6 would give the same numbers to other events, so a new epoch begins.
local FIRST_ITEM = 13

-- 1. Is the caller still the writer?
local known = redis.call('HMGET', KEYS[1], 'number', 'since', 'run')
local number = tonumber(known[1] or 0)
if number > tonumber(ARGV[1]) then return {'fenced'} end
if number < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'number', ARGV[1]) end

local head = redis.call('HMGET', KEYS[3], 'epoch', 'seq', 'kept', 'at', 'bytes', 'oldest', 'number', 'writer', 'mark', 'first')
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
    -- The writer knows of a greater number, or of another epoch, than this head has.
    if ARGV[9] ~= '' and (ARGV[9] ~= epoch or tonumber(ARGV[10]) > seq) then return true end
    -- The head was written before Redis was replaced, and may lack appends of the previous writer.
    if tonumber(head[7]) < tonumber(known[2] or 0) then return true end
    -- An answer was lost, and Redis is not the process that this writer took over: what it had appended may be lost too.
    return ARGV[11] == '1' and run() ~= known[3]
end

-- A new epoch begins with its first event.
if not epoch or is_behind() then
    if ARGV[FIRST_ITEM] == '' then return {'none'} end
    redis.call('DEL', KEYS[4])
    epoch, seq, kept, last_at, bytes, oldest = ARGV[8], 0, 0, '', 0, ''
    redis.call('HSET', KEYS[2], ARGV[12], epoch)
    redis.call('PUBLISH', 'bond:topics', ARGV[12])
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
local items = (#ARGV - FIRST_ITEM + 1) / 3
local budget = 2 * items + 64
while budget > 0 and left > 1 and (oldest < cutoff or bytes > bound) do
    local dropped
    for _, item in ipairs(redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', math.min(items + 1, 64))) do
        oldest = item[2][2]
        if left == 1 or not (oldest < cutoff or bytes > bound) then break end
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
redis.call('PEXPIRE', KEYS[4], ARGV[7])
redis.call('PUBLISH', 'bond:topic:' .. ARGV[12], '')
return {'done', epoch, first, bytes}
