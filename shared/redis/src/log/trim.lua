-- Drops the oldest items of a topic until it has at most the given number of bytes. The newest item stays. KEYS: fence, head, log.
-- ARGV: number, bytes, the most items to drop. Returns the topic's bytes afterwards, and whether there is more to drop; false if another
-- writer has taken over. The size of an item is counted as in append.lua.
if tonumber(redis.call('HGET', KEYS[1], 'number') or 0) > tonumber(ARGV[1]) then return false end
local bytes, left, budget = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0), redis.call('XLEN', KEYS[3]), tonumber(ARGV[3])
if left == 0 then return {0, 0} end

local oldest
while budget > 0 and left > 1 and bytes > tonumber(ARGV[2]) do
    local dropped
    for _, item in ipairs(redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 64)) do
        oldest = item[2][2]
        if left == 1 or bytes <= tonumber(ARGV[2]) then break end
        local weight = 64
        for i = 2, #item[2], 2 do weight = weight + #item[2][i] end
        bytes, left, budget, dropped = bytes - weight, left - 1, budget - 1, item[1]
    end
    local of, n = string.match(dropped, '^(%d+)-(%d+)$')
    redis.call('XTRIM', KEYS[3], 'MINID', string.format('%s-%.0f', of, n + 1))
end
-- This comes after the deletion, because a full Redis lets a script write only if its first write needs no memory.
if oldest then redis.call('HSET', KEYS[2], 'bytes', bytes, 'oldest', oldest) end
return {bytes, budget <= 0 and left > 1 and bytes > tonumber(ARGV[2]) and 1 or 0}
