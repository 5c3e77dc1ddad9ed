-- Finds the position before the first event appended at or after a time. KEYS: head, log. ARGV: the time, 19 digits.
-- Returns {epoch, seq}; false if the topic has no history.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if not head[1] then return false end
local low, high = tonumber(head[2]) + 1, tonumber(head[2]) + 1
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if oldest then
    local seq, n = string.match(oldest[1], '^(%d+)-(%d+)$')
    low = tonumber(seq) + (n == '0' and 0 or 1)
end
while low < high do
    local middle = math.floor((low + high) / 2)
    local id = string.format('%.0f-0', middle)
    local item = redis.call('XRANGE', KEYS[2], id, id)[1]
    if item and item[2][2] >= ARGV[1] then high = middle else low = middle + 1 end
end
return {head[1], string.format('%.0f', low - 1)}
