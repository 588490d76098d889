-- The beginning of each script that changes the log. It makes the log if it is missing, or if a part
-- of it is: then it has another epoch. Its numbers begin at the time, above all that were used before.
--
-- KEYS: the entries, the state. ARGV[1]: an epoch, for a new log.
local entries, state = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local s = redis.call('HMGET', state, 'epoch', 'base', 'seq', 'check', 'total', 'at', 'replid', 'first')
local epoch, base, seq, check, total, at, replid, first = unpack(s)
if not epoch or seq ~= base and redis.call('EXISTS', entries) == 0 then
  redis.call('DEL', entries, state)
  base = string.format('%d%06d', tonumber(time[1]), tonumber(time[2]))
  check = string.format('%d', tonumber(time[2]) + 1) -- of the position before the first entry
  epoch, seq, total, at, replid, first = ARGV[1], base, '0', '0', '', false
  redis.call('HSET', state, 'epoch', epoch, 'base', base, 'seq', seq, 'check', check, 'total', total, 'at', at, 'replid', replid)
end
