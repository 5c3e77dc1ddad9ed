-- Drops a claim. KEYS: streams, owner. ARGV: id, owner, now. Returns -1 where there is none, 1 where it was the last, else 0.
local text = redis.call('HGET', KEYS[1], ARGV[1])
local stream = text and cjson.decode(text)
local claim = stream and stream.claims[ARGV[2]]
redis.call('SREM', KEYS[2], ARGV[1])
if not claim or (claim ~= '' and claim <= ARGV[3]) then return -1 end

stream.claims[ARGV[2]] = nil
if stream.labels then stream.labels[ARGV[2]] = nil end
for owner, expires in pairs(stream.claims) do
    if expires ~= '' and expires <= ARGV[3] then stream.claims[owner] = nil end
end
if next(stream.claims) then
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(stream))
    return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
