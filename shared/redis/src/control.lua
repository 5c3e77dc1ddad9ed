-- Adds a command, and drops the oldest: those that are too old, and those that are too much. KEYS: stream. ARGV: command, most bytes,
-- how long one is kept in ms. Beside each command stands the sum of all up to it, so that what is kept is a difference.
-- The first write needs no memory, so that Redis refuses none of them where it is full.
redis.call('PERSIST', KEYS[1])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local sum = (newest and tonumber(newest[2][4]) or 0) + 64 + #ARGV[1]
redis.call('XADD', KEYS[1], '*', 'c', ARGV[1], 's', string.format('%.0f', sum))
local now = redis.call('TIME')
local cutoff = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[3])

local more = true
while more do
    local part, dropped = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 8), nil
    for _, entry in ipairs(part) do
        local before = (tonumber(entry[2][4]) or 0) - 64 - #entry[2][2]
        local is_old = tonumber(string.match(entry[1], '^%d+')) < cutoff
        more = entry[2][3] ~= 's' or is_old or sum - before > tonumber(ARGV[2])
        if not more then break end
        dropped = entry[1]
    end
    if dropped then
        local ms, n = string.match(dropped, '^(%d+)-(%d+)$')
        redis.call('XTRIM', KEYS[1], 'MINID', string.format('%s-%.0f', ms, n + 1))
    end
    more = more and #part == 8
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
