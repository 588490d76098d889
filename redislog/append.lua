-- Appends a batch of events in entries, each unless it is a repeat. Returns the epoch, and the ID of each
-- entry: the number of its last event, and its check. A batch that is already there is not stored again.
--
-- KEYS[3]: the last batch of the node. Further KEYS are those that entries name by their index.
-- ARGV[2]: the number of the batch; "" for none, in a transaction. ARGV[3]: how long it and repeats
-- are known, in ms. ARGV[4]: how long keys are kept, in ms. Then of each entry: its events, and how
-- many; a random number for its check; of its only event the key, the index of the newest entries of its
-- subject's keys, and that of its repeat, or 0 for none.
--
-- A check depends on all entries before. Otherwise a batch that is sent again after the log was rolled
-- back could follow other events than before, with some of the same positions.
local batch, keep, keepKeys = ARGV[2], ARGV[3], ARGV[4]
if batch ~= '' then
  local last = redis.call('GET', KEYS[3])
  if last then
    last = cmsgpack.unpack(last)
    if last.batch == tonumber(batch) and last.base == base then
      redis.call('PEXPIRE', KEYS[3], keep) -- WAIT waits for a write
      return {epoch, last.ids}
    elseif last.batch >= tonumber(batch) then
      return redis.error_reply('TOOLATE the node has given up this batch')
    end
  end
end
local number, sum = tonumber(seq), tonumber(total)
at = math.max(tonumber(at), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local ids = {}
for i = 5, #ARGV, 6 do
  local events, count, random, key = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3]
  local newest, repeated = KEYS[tonumber(ARGV[i + 4])], KEYS[tonumber(ARGV[i + 5])]
  local id, of
  if repeated then
    id, of = string.match(redis.call('GET', repeated) or '', '^(%S+) (%d+)$')
  end
  if not id or of ~= base then -- else it is a repeat, and not one of a log that is gone
    number = number + count
    sum = sum + #events + 64 * count
    local own = string.format('%d', math.max(1, (31 * tonumber(check) + random) % 2 ^ 32))
    id = string.format('%d-%s', number, own)
    redis.call('XADD', entries, id, 'a', string.format('%d %s %d %d', at, check, sum, count), 'e', events)
    if newest then
      if first then
        redis.call('ZREMRANGEBYSCORE', newest, '-inf', '(' .. first)
      end
      redis.call('ZADD', newest, number, key)
      redis.call('PEXPIRE', newest, keepKeys)
    end
    check = own
    if repeated then
      redis.call('SET', repeated, id .. ' ' .. base, 'PX', keep)
    end
  end
  ids[#ids + 1] = id
end
redis.call('HSET', state, 'seq', number, 'check', check, 'total', sum, 'at', at)
if batch ~= '' then
  redis.call('SET', KEYS[3], cmsgpack.pack({batch = tonumber(batch), base = base, ids = ids}), 'PX', keep)
end
return {epoch, ids}
