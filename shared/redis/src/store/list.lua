-- The streams that an owner may have claimed. KEYS: streams, owner. Returns {id, JSON, ...}.
local found = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    local text = redis.call('HGET', KEYS[1], id)
    if text then
        found[#found + 1] = id
        found[#found + 1] = text
    end
end
return found
