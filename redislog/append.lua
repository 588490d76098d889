-- Appends a batch of records, each unless it is a repeat. Returns the epoch, and the ID of each
-- record's entry: its number and its check. A batch that is already there is not stored again.
--
-- KEYS[3]: the last batch of the node. Further KEYS are those that records name by their index.
-- ARGV[2]: the number of the batch; "" for none, in a transaction. ARGV[3]: how long it and repeats
-- are known, in ms. ARGV[4]: how long keys are kept, in ms. Then of each record: subject, key, frame,
-- check, the index of the newest entries of its subject's keys, and that of its repeat; 0 for none.
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
  local subject, key, frame, own = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local newest, repeated = KEYS[tonumber(ARGV[i + 4])], KEYS[tonumber(ARGV[i + 5])]
  local id, of
  if repeated then
    id, of = string.match(redis.call('GET', repeated) or '', '^(%S+) (%d+)$')
  end
  if not id or of ~= base then -- else it is a repeat, and not one of a log that is gone
    number = number + 1
    sum = sum + #subject + #key + #frame + 64
    id = string.format('%d-%s', number, own)
    -- When it was stored, the check of the entry before, the bytes up to this one, and the subject.
    local about = string.format('%d %s %d %s', at, check, sum, subject)
    if newest then
      redis.call('XADD', entries, id, 'a', about, 'f', frame, 'k', key)
      if first then
        redis.call('ZREMRANGEBYSCORE', newest, '-inf', '(' .. first)
      end
      redis.call('ZADD', newest, number, key)
      redis.call('PEXPIRE', newest, keepKeys)
    else
      redis.call('XADD', entries, id, 'a', about, 'f', frame)
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
