-- Publishes one message of one topic: history, last position, mark and PUBLISH in one step.
--
-- KEYS[1] the topic's history, a stream whose entry ids are positions      KEYS[2] the mark of (topic, edge instance)
-- KEYS[3] the topic's last position, which outlives its history, and behind a space the identity of the server that gave it
-- ARGV[1] channel   [2] the JSON without position and closing brace        [3] number   [4] predecessor   [5] floor
-- ARGV[6] [7] epoch and offset of the highest position the publisher knows, 0 0: none
-- ARGV[8] entries kept   [9] milliseconds the history is kept              [10] seconds the mark is kept
-- ARGV[11] milliseconds the last position is kept                         [12] the identity of this server, empty: not known
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
local last, giver = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+%-%d+) ?(%S*)$')
giver = giver or ''

local function place(id)
  local epoch, offset = string.match(id or '', '^(%d+)-(%d+)$')
  return tonumber(epoch), tonumber(offset)
end

-- The last position is further than the history where that has expired, or its last entries were deleted: their ids cannot be given again.
local topid = last or ''
local topepoch, topoffset = place(last)
if top and top[1] ~= last then
  local epoch, offset = place(top[1])
  if not topepoch or epoch > topepoch or epoch == topepoch and offset > topoffset then
    topid, topepoch, topoffset = top[1], epoch, offset
  end
end

-- The last epoch that anybody believes, protocol.MaxEpoch. None is begun behind it: what is there goes on, and what is beyond it is no position.
local lastepoch = 2^53 - 2
local impossible = topepoch and topepoch > lastepoch
if impossible then topepoch = nil end
if not topepoch then topid = '0-0' end

if number <= mark or mark < predecessor then
  if raised then redis.call('SET', KEYS[2], string.format('%.0f', mark), 'EX', ARGV[10]) end
  if number <= mark then return 'duplicate ' .. topid end
  return 'refused'
end

-- What a publisher knows of the last epoch has none behind it to begin for its sake.
local knownepoch, knownoffset = tonumber(ARGV[6]), tonumber(ARGV[7])
if knownepoch >= lastepoch then knownepoch, knownoffset = 0, 0 end

-- A last position that another server gave is that of a snapshot, or of a replica that may have been behind: more may have been given since.
local identity = ARGV[12]
local old = giver ~= '' and identity ~= '' and giver ~= identity and topepoch and topepoch < lastepoch
if identity == '' then identity = giver end

-- A topic without a last position, or whose last one is old or behind what the publisher has seen, begins an epoch later than any before.
local function birth()
  local time = redis.call('TIME')
  local epoch = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local before = math.max(knownepoch, topepoch or 0)
  if epoch <= before then epoch = before + 1 end
  return string.format('%.0f', epoch) .. '-1'
end

-- The first of an epoch tells where the topic was before, so that who missed the end of the one before learns of it.
local id
local previous = ''
if not topepoch or old or topepoch < knownepoch or topepoch == knownepoch and topoffset < knownoffset then
  id = birth()
  if topepoch then previous = ',"Prev":"' .. topid .. '"' end
else
  id = string.format('%.0f-%.0f', topepoch, topoffset + 1)
end

if impossible then redis.call('DEL', KEYS[1]) end
local json = ARGV[2] .. ',"Pos":"' .. id .. '"' .. previous .. '}'
redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[8], id, 'm', json)
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('SET', KEYS[3], identity == '' and id or id .. ' ' .. identity, 'PX', ARGV[11])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[10])
redis.call('PUBLISH', ARGV[1], json)
return 'done ' .. id
