-- Publishes one message of one topic: history, last position, mark and PUBLISH in one step.
--
-- KEYS[1] the topic's history, a stream whose entry ids are positions      KEYS[2] the mark of (topic, edge instance)
-- KEYS[3] the topic's last position, which outlives its history
-- ARGV[1] channel   [2] the JSON without position and closing brace        [3] number   [4] predecessor   [5] floor
-- ARGV[6] [7] epoch and offset of the highest position the publisher knows, 0 0: none
-- ARGV[8] entries kept   [9] milliseconds the history is kept              [10] seconds the mark is kept
-- ARGV[11] milliseconds the last position is kept
-- Returns "done P", "duplicate P" with P the top (0-0: none is known), or "refused".
--
-- All numbers stay below 2^53, where Lua is exact; %.0f writes them without an exponent. Running out of memory or being a replica fails the
-- first write and only that, so either everything below happens or nothing. Only a PUBLISH that is not permitted would come too late, which is
-- why a Redis that does not permit it is not used at all.

local number, predecessor, floor = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local mark = tonumber(redis.call('GET', KEYS[2]) or 0) or 0
local raised = mark < floor
if raised then mark = floor end

local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local topid = top and top[1] or redis.call('GET', KEYS[3]) or ''
local topepoch, topoffset = string.match(topid, '^(%d+)-(%d+)$')
if not topepoch then topid = '0-0' end

if number <= mark or mark < predecessor then
  if raised then redis.call('SET', KEYS[2], string.format('%.0f', mark), 'EX', ARGV[10]) end
  if number <= mark then return 'duplicate ' .. topid end
  return 'refused'
end

local knownepoch, knownoffset = tonumber(ARGV[6]), tonumber(ARGV[7])

-- A topic without a last position, or whose last one is behind what the publisher has seen, begins an epoch later than any before.
local function birth()
  local time = redis.call('TIME')
  local epoch = tonumber(time[1]) * 1000000 + tonumber(time[2])
  if knownepoch > 0 and epoch <= knownepoch then epoch = knownepoch + 1 end
  return string.format('%.0f', epoch) .. '-1'
end

local id
topepoch, topoffset = tonumber(topepoch), tonumber(topoffset)
if not topepoch or topepoch < knownepoch or topepoch == knownepoch and topoffset < knownoffset then
  id = birth()
else
  id = string.format('%.0f-%.0f', topepoch, topoffset + 1)
end

local json = ARGV[2] .. ',"Pos":"' .. id .. '"}'
redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[8], id, 'm', json)
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('SET', KEYS[3], id, 'PX', ARGV[11])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[10])
redis.call('PUBLISH', ARGV[1], json)
return 'done ' .. id
