-- Claims a stream. KEYS: streams, owner. ARGV: id, canonical, spec, created at, owner, expires at (empty: never), quota, now,
-- labels (empty: none).
-- Times are 19 digits, so that they compare as texts. Returns {word, stream as JSON}.
local function living(id)
    local text = redis.call('HGET', KEYS[1], id)
    if not text then return nil end
    local stream = cjson.decode(text)
    for owner, expires in pairs(stream.claims) do
        if expires ~= '' and expires <= ARGV[8] then stream.claims[owner] = nil end
    end
    stream.labels = stream.labels or {}
    for owner in pairs(stream.labels) do
        if not stream.claims[owner] then stream.labels[owner] = nil end
    end
    return next(stream.claims) and stream or nil
end

local stream = living(ARGV[1])
if stream and stream.canonical ~= ARGV[2] then return {'conflict'} end

local others = 0
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    local other = id ~= ARGV[1] and living(id)
    if other and other.claims[ARGV[5]] then
        others = others + 1
    else
        redis.call('SREM', KEYS[2], id)
    end
end
if others >= tonumber(ARGV[7]) then
    if stream and stream.claims[ARGV[5]] then redis.call('SADD', KEYS[2], ARGV[1]) end
    return {'quota'}
end

local word = stream and 'found' or 'created'
stream = stream or {canonical = ARGV[2], spec = ARGV[3], created = ARGV[4], claims = {}, labels = {}}
stream.claims[ARGV[5]] = ARGV[6]
stream.labels[ARGV[5]] = ARGV[9] ~= '' and ARGV[9] or nil
local text = cjson.encode(stream)
redis.call('HSET', KEYS[1], ARGV[1], text)
redis.call('SADD', KEYS[2], ARGV[1])
return {word, text}
