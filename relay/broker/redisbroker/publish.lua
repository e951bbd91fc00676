-- Publishes one message of one topic: history, last position, mark and PUBLISH in one step.
--
-- KEYS[1] the topic's history, a stream whose entry ids are positions      KEYS[2] the mark of (topic, edge instance)
-- KEYS[3] the topic's last position, which outlives its history, and behind a space the
--         identities of the servers that gave the last ones, the newest first, with commas
-- ARGV[1] channel   [2] the JSON without position and closing brace        [3] number   [4] predecessor   [5] floor
-- ARGV[6] [7] epoch and offset of the highest position the publisher knows, 0 0: none
-- ARGV[8] entries kept   [9] milliseconds the history is kept              [10] seconds the mark is kept
-- ARGV[11] milliseconds the last position is kept                         [12] the identity of this server, empty: not known
-- ARGV[13] the latest epoch of any topic that the publisher has seen, 0: none
-- Returns "done P", "duplicate P" with P the top (0-0: none is known), or "refused".
--
-- All numbers stay below 2^53, where Lua is exact; %.0f writes them without an exponent. Running out of memory or being a replica fails the
-- first write and only that, so either everything below happens or nothing. Only a PUBLISH that is not permitted would come too late, which is
-- why a Redis that does not permit it is not used at all.

local number, predecessor, floor = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local identity = ARGV[12]

-- The last epoch that anybody believes, protocol.MaxEpoch. None is begun behind it: what is there goes on, and what is beyond it is no position.
local lastepoch = 2^53 - 2

-- The last offset that anybody believes, protocol.MaxOffset: another epoch follows it.
local lastoffset = 2^53 - 2

-- How many characters of identities are kept: eight identities.
local keptgivers = 71

local mark = tonumber(redis.call('GET', KEYS[2]) or 0) or 0
local raised = mark < floor
if raised then mark = floor end

local epoch, offset, givers = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+)%-(%d+) ?(%S*)$')
local topepoch, topoffset = tonumber(epoch), tonumber(offset)
givers = givers or ''

-- A server never takes back an identity that it has left. One that comes back is what a proxy
-- tells on one connection and not on the next, and says nothing about the data.
local gave = identity ~= '' and string.find(',' .. givers .. ',', ',' .. identity .. ',', 1, true)

-- What a publisher knows of the last epoch has none behind it to begin for its sake.
local knownepoch, knownoffset = tonumber(ARGV[6]), tonumber(ARGV[7])
if knownepoch >= lastepoch then knownepoch, knownoffset = 0, 0 end

local function text(e, o) return string.format('%.0f-%.0f', e, o) end

-- Whether the topic goes on behind its last position. It does not behind one that another server
-- gave: that is of a snapshot, or of a replica that may have been behind, and more may have been
-- given since. Nor does it behind one that is behind what the publisher has seen, since that is
-- lost, nor behind the last offset.
local function continues()
  return topepoch and topoffset < lastoffset
    and (givers == '' or identity == '' or gave or topepoch >= lastepoch)
    and not (topepoch < knownepoch or topepoch == knownepoch and topoffset < knownoffset)
end

-- Appends to the history, and returns what Redis says to it.
local json
local function append(call, id, previous)
  json = ARGV[2] .. ',"Pos":"' .. id .. '"' .. previous .. '}'
  return call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[8], id, 'm', json)
end

-- Nearly always all is as the one before left it, and the history need not be read: it takes an entry if it is not further itself.
local id
if number > mark and mark >= predecessor and continues() and topepoch <= lastepoch then
  id = text(topepoch, topoffset + 1)
  if type(append(redis.pcall, id, '')) == 'table' then id = nil end
end

if not id then
  -- The last position is further than the history where that has expired, or its last entries were deleted: their ids cannot be given again.
  local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if top then
    local e, o = string.match(top[1], '^(%d+)-(%d+)$')
    e, o = tonumber(e), tonumber(o)
    if not topepoch or e > topepoch or e == topepoch and o > topoffset then topepoch, topoffset = e, o end
  end
  local impossible = topepoch and
    (topepoch > lastepoch or topepoch == lastepoch and topoffset >= lastoffset)
  if impossible then topepoch = nil end
  local credible = topepoch and topoffset <= lastoffset
  local topid = credible and text(topepoch, topoffset) or '0-0'

  if number <= mark or mark < predecessor then
    if raised then redis.call('SET', KEYS[2], string.format('%.0f', mark), 'EX', ARGV[10]) end
    if number <= mark then return 'duplicate ' .. topid end
    return 'refused'
  end

  -- A topic without a last position, or whose last one does not continue, begins an epoch later than any before. The first of an epoch tells where the topic was before, so
  -- that who missed the end of the one before learns of it.
  local previous = ''
  if continues() then
    id = text(topepoch, topoffset + 1)
  else
    local time = redis.call('TIME')
    local born = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local before = math.max(knownepoch, topepoch or 0, tonumber(ARGV[13])) -- the clock may have been set back
    if born <= before then born = before + 1 end
    id = text(born, 1)
    if credible then previous = ',"Prev":"' .. topid .. '"' end
  end
  if impossible then redis.call('PEXPIRE', KEYS[1], 0) end -- which deletes it, as one may who may not DEL
  append(redis.call, id, previous)
end

if identity ~= '' and not gave then
  givers = string.sub(givers == '' and identity or identity .. ',' .. givers, 1, keptgivers)
end
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('SET', KEYS[3], givers == '' and id or id .. ' ' .. givers, 'PX', ARGV[11])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[10])
redis.call('PUBLISH', ARGV[1], json)
return 'done ' .. id
