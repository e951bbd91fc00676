-- Reads a page of a topic's history, and the topic's top, at one moment. It changes nothing.
--
-- KEYS[1] the topic's record      KEYS[2] the list of its history
-- ARGV[1] [2] epoch and offset behind which the page begins; 0 0 for the beginning of the history
-- ARGV[3] how many entries the page has at most
-- ARGV[4] how many bytes the page has at most, unless its first entry alone is longer
-- ARGV[5] how many entries of a history are kept
-- ARGV[6] [7] how many milliseconds a history and a last position are kept
-- Returns:
--   the top (0-0: none is known)
--   the identities of the servers that gave the last positions
--   1 if there are entries behind the page, else 0
--   for each entry, its position and its JSON. If the JSON names another position, the script
--   returns an empty string in its place.
--
-- The last entry has the position of the top. Each entry before it has an offset that is lower by
-- one. The first entry of an epoch says where the epoch before it ended.

local afterepoch, afteroffset = tonumber(ARGV[1]), tonumber(ARGV[2])
local most, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local size, age, keep = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local nothing = {'0-0', '', 0}
local epoch, offset, stamp, _, _, _, ng, _, _, others = open(KEYS[1])
if not epoch or offset == 0 or not credible(epoch, offset) then return nothing end
local time = call('TIME')
local old = math.floor((time[1] * 1000000 + time[2]) / 1000) - stamp
if old >= keep then return nothing end
local reply = {format('%d-%d', epoch, offset), sub(others, 1, 8 * ng), 0}

-- Entries are up to 1 MiB long, so they are read a few at a time.
local few = 8
local count = old < age and math.min(call('LLEN', KEYS[2]), size) or 0
-- The variable entries has a part of the list. The variable from is the number of the part's first
-- entry, counted from the end of the list.
local entries, from = {}, 0

-- Returns the i-th entry from the end, or an empty string if there is none.
local function entry(i)
  if i > from or i <= from - #entries then
    entries, from = call('LRANGE', KEYS[2], -i, math.min(few - 1 - i, -1)), i
  end
  return entries[from - i + 1] or ''
end

-- Returns the JSON of the i-th entry from the end. If the JSON names another position, it returns
-- an empty string.
local function at(i, position)
  local json = entry(i)
  return find(json, '"Pos":"' .. position .. '"', 1, true) and json or ''
end

-- The variable epochs lists the epochs from which the page may have entries, the latest first. Each
-- item has three numbers: the epoch, the offset of the epoch's last entry, and how many entries of
-- the history are behind that entry.
local epochs = {{epoch, offset, 0}}
local first -- number of the page's first entry, counted from the end
while not first do
  local e, o, behind = _G.unpack(epochs[#epochs])
  if e < afterepoch then
    first = behind
  elseif e == afterepoch then
    first = behind + math.max(o - afteroffset, 0)
  elseif behind + o >= count then
    first = count
  else
    local pe, po = string.match(at(behind + o, format('%d-1', e)), '"Prev":"(%d+)%-(%d+)"')
    if pe then
      epochs[#epochs + 1] = {tonumber(pe), tonumber(po), behind + o}
    else
      first = behind + o
    end
  end
end
first = math.min(first, count)

local n = #epochs
for i = first, 1, -1 do
  while epochs[n][3] >= i do n = n - 1 end
  local position = format('%d-%d', epochs[n][1], epochs[n][2] - (i - epochs[n][3]) + 1)
  local json = at(i, position)
  room = room - #json
  if first - i == most or i < first and room < 0 then
    reply[3] = 1
    break
  end
  reply[#reply + 1] = position
  reply[#reply + 1] = json
end
return reply
