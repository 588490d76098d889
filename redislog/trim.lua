-- Removes the oldest batches: those that are too old, and those beyond the bound of bytes. The newest
-- one stays. The state notes a number: that of the first event that is left, or of a later one of its
-- batch. Returns 1 if more are to be removed.
--
-- KEYS: the entries, the state. ARGV: the longest age in ms, the bound in bytes, the most events to
-- be removed, about.
local entries, state = KEYS[1], KEYS[2]
local s = redis.call('HMGET', state, 'seq', 'total')
local first = redis.call('XRANGE', entries, '-', '+', 'COUNT', 1)[1]
if not s[1] or not first then
  return 0
end
local time = redis.call('TIME')
local oldest = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(ARGV[1])
local least = tonumber(s[2]) - tonumber(ARGV[2])
local function lastOf(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end
local function isOld(entry)
  local at, sum = string.match(entry[2][2], '^(%d+) %d+ (%d+) %d+$')
  return at and (tonumber(at) <= oldest or tonumber(sum) <= least)
end
local from = lastOf(first)
local last = tonumber(s[1])
local low, high = from, math.min(last, from + tonumber(ARGV[3]))
-- Times and sums grow with the numbers. All before low are old, and high is not, or is the bound.
while low < high do
  local middle = math.floor((low + high) / 2)
  local entry = redis.call('XRANGE', entries, string.format('%d', middle), '+', 'COUNT', 1)[1]
  if entry and isOld(entry) then
    low = lastOf(entry) + 1
  else
    high = middle
  end
end
low = math.min(low, last)
if low > from then
  redis.call('XTRIM', entries, 'MINID', string.format('%d', low))
  redis.pcall('HSET', state, 'first', string.format('%d', low)) -- not if there is no memory left
end
return low >= from + tonumber(ARGV[3]) and 1 or 0
