-- Ends a topic and drops its history. KEYS: fence, topics, head, log. ARGV: number, topic. Returns 0 if another writer has taken over.
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
if number > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[3], KEYS[4])
if redis.call('HDEL', KEYS[2], ARGV[2]) == 1 then redis.call('PUBLISH', 'bond:topics', ARGV[2]) end
return 1
