-- Reads a topic's top and, if asked for, a page of its history, at one moment. It changes nothing.
--
-- KEYS[1] the topic's history      KEYS[2] the topic's last position, and behind a space who gave the last ones
-- ARGV[1] where the page begins, as XRANGE has it      [2] entries that it has at most; 0: no page
-- ARGV[3] bytes that it has at most, unless its first entry alone is more
-- Returns the top (0-0: none is known), whether there are entries behind the page (1, else 0), and of each entry its id and its JSON: empty if it
-- is somebody else's.
--
-- The top is most often read without an entry: entries are up to 1 MiB long. They are read a few at a time, so that little is read in vain.

local few = 8

-- What others put in the last position's place counts for nothing: no number of ours comes near
-- 2^53.
local last = '0-0'
local epoch, offset = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+)%-(%d+)%f[^%d]')
if epoch and tonumber(epoch) < 2^53 - 1 and tonumber(offset) < 2^53 - 1 then last = epoch .. '-' .. offset end

-- The history goes further where the last position was evicted, or others added to it.
local top = last
if redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1] then
  top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
end

local reply = {top, 0}
local from, most, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function json(entry)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'm' then return entry[2][i + 1] end
  end
  return ''
end

local count = 0
while most > 0 do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', few)
  for _, entry in ipairs(entries) do
    local text = json(entry)
    room = room - #text
    if count == most or count > 0 and room < 0 then
      reply[2] = 1
      return reply
    end
    count = count + 1
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = text
  end
  if #entries < few then break end
  from = '(' .. entries[few][1]
end
return reply
