-- Appends items to a topic. KEYS: fence, topics, head, log.
-- ARGV: number, writer, mark, at, cutoff, bytes, ttl_ms, new epoch, acknowledged epoch, acknowledged seq, unsure, topic, then for each item
-- a header (empty: a status), a body and the changes. Times are 19 digits, so that they compare as texts: a Lua number cannot hold them.
-- Returns {'done', epoch, seq, bytes}, {'fenced'}, {'stale'} or {'none'}.
local FIRST_ITEM = 13

local known = redis.call('HMGET', KEYS[1], 'number', 'since', 'run')
local number = tonumber(known[1] or 0)
if number > tonumber(ARGV[1]) then return {'fenced'} end
if number < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'number', ARGV[1]) end

local head = redis.call('HMGET', KEYS[3], 'epoch', 'seq', 'kept', 'at', 'bytes', 'oldest', 'number', 'writer', 'mark', 'first')
local epoch, seq, kept = head[1], tonumber(head[2] or 0), tonumber(head[3] or 0)
local last_at, bytes, oldest = head[4] or '', tonumber(head[5] or 0), head[6] or ''

if epoch and head[8] == ARGV[2] then
    if tonumber(head[9]) == tonumber(ARGV[3]) then return {'done', epoch, tonumber(head[10]), bytes} end
    if tonumber(head[9]) > tonumber(ARGV[3]) then return {'stale'} end
end

-- A managed Redis may refuse INFO; all its processes then count as one.
local function run()
    local info = redis.pcall('INFO', 'server')
    return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- Whether numbers that readers may have seen could be given again.
local function is_behind()
    if ARGV[9] ~= '' and (ARGV[9] ~= epoch or tonumber(ARGV[10]) > seq) then return true end
    if tonumber(head[7]) < tonumber(known[2] or 0) then return true end
    return ARGV[11] == '1' and run() ~= known[3]
end

if not epoch or is_behind() then
    if ARGV[FIRST_ITEM] == '' then return {'none'} end
    redis.call('DEL', KEYS[4])
    epoch, seq, kept, last_at, bytes, oldest = ARGV[8], 0, 0, '', 0, ''
    redis.call('HSET', KEYS[2], ARGV[12], epoch)
    redis.call('PUBLISH', 'bond:topics', ARGV[12])
end

local at = ARGV[4] < last_at and last_at or ARGV[4]
local left = redis.call('XLEN', KEYS[4])
if left == 0 then bytes, oldest = 0, at end

-- What a field list {name, value, ...} counts for.
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

-- Drops what is too old or too much, oldest first: twice what came in and some, so that no append takes long.
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

redis.call('HSET', KEYS[3], 'epoch', epoch, 'seq', string.format('%.0f', seq), 'kept', kept, 'at', at,
    'bytes', bytes, 'oldest', oldest, 'number', ARGV[1], 'writer', ARGV[2], 'mark', ARGV[3], 'first', string.format('%.0f', first))
redis.call('PEXPIRE', KEYS[4], ARGV[7])
redis.call('PUBLISH', 'bond:topic:' .. ARGV[12], '')
return {'done', epoch, first, bytes}
