-- Reads the next items of a topic. KEYS: head, log. ARGV: the reader's epoch (empty: any), its seq, the id to read from, how many items.
-- Returns {epoch, seq, oldest id, items}. If the reader's position does not belong to this history, the items begin with the oldest.
-- Returns false if the topic has no history.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if not head[1] then return false end
local from = ARGV[3]
if ARGV[1] ~= '' and (ARGV[1] ~= head[1] or tonumber(ARGV[2]) > tonumber(head[2])) then from = '-' end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local items = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[4])
return {head[1], head[2], oldest and oldest[1] or '', items}
