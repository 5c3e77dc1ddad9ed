-- Reads on in a topic. KEYS: head, log. ARGV: the reader's epoch (empty: any), its seq, the id to read from, how many.
-- Returns {epoch, seq, oldest id, items}, from the oldest kept where the reader's place is not in this history; nothing for no history.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if not head[1] then return false end
local from = ARGV[3]
if ARGV[1] ~= '' and (ARGV[1] ~= head[1] or tonumber(ARGV[2]) > tonumber(head[2])) then from = '-' end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local items = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', ARGV[4])
return {head[1], head[2], oldest and oldest[1] or '', items}
