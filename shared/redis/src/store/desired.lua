-- Every stream that exists, after removing what does not any more. KEYS: streams. ARGV: now. Returns {id, JSON, ...}.
local found = redis.call('HGETALL', KEYS[1])
local living = {}
for i = 1, #found, 2 do
    local is_living = false
    for _, expires in pairs(cjson.decode(found[i + 1]).claims) do
        is_living = is_living or expires == '' or expires > ARGV[1]
    end
    if is_living then
        living[#living + 1] = found[i]
        living[#living + 1] = found[i + 1]
    else
        redis.call('HDEL', KEYS[1], found[i])
    end
end
return living
