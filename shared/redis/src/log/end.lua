-- Ends a topic and drops its history. KEYS: fence, topics, head, log; for a published topic the index in place of the topics, and its state.
-- ARGV: number, topic. Returns 0 if another writer has taken over.
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
if number > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[3], KEYS[4])
if KEYS[5] then
    -- Only those who follow it are to know.
    redis.call('DEL', KEYS[5])
    redis.call('ZREM', KEYS[2], ARGV[2])
    redis.call('PUBLISH', 'bond:topic:' .. ARGV[2], '')
elseif redis.call('HDEL', KEYS[2], ARGV[2]) == 1 then
    redis.call('PUBLISH', 'bond:topics', ARGV[2])
end
return 1
