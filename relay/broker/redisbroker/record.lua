-- The record of a topic, as the scripts that follow this text use it. It has a head, givers and
-- marks, one behind the other.
--   head     the fields that are listed below, 59 bytes
--   givers   the identities of servers that gave positions, the newest first, 8 bytes each
--   marks    the marks of earlier writers, the latest writer first, 32 bytes each. A mark has
--            instance, number, and the time when it was set.
-- Times are Redis' own, in milliseconds. A value of another form counts as no record.
--
-- A record with an epoch and the offset 0 has no last position. Its epoch was begun: it is decided
-- for the topic's first publication. Its time is the time when that was decided.
local call, format = redis.call, string.format
local pack, unpack, sub, find = struct.pack, struct.unpack, string.sub, string.find

-- The fields of the head: epoch, offset and time of the last publication; instance, number and
-- time of the last writer's mark; counts of givers and of marks; 1 if the hash has marks, else 0.
local head, headlength = '>I8I8I8c16I8I8BBB', 59

-- How many givers and marks a record has at most.
local mostgivers, mostmarks = 8, 15

-- The last credible epoch and offset: protocol.MaxEpoch and protocol.MaxOffset. All numbers stay
-- below 2^53, where Lua is exact.
local lastepoch, lastoffset = 2^53 - 2, 2^53 - 2

-- Reads a record. It returns the fields of the head, and then the givers and marks as one string.
-- It returns nothing if there is no record.
local function open(key)
  local record = call('GET', key)
  if not record or #record < headlength then return end
  local epoch, offset, stamp, writer, mark, set, ng, nm, hashed = unpack(head, record)
  if ng > mostgivers or nm > mostmarks or #record ~= headlength + 8 * ng + 32 * nm then return end
  return epoch, offset, stamp, writer, mark, set, ng, nm, hashed, sub(record, headlength + 1)
end

-- Returns true if a position is credible and another position can come after it. Behind the last
-- offset of an epoch, the next position is in a later epoch.
local function credible(epoch, offset)
  return epoch > 0 and offset <= lastoffset and (epoch < lastepoch or epoch == lastepoch and offset < lastoffset)
end

-- Returns the position of the list's last entry. It returns 0 0 if there is no entry, or if the
-- position is not credible, or is in the last epoch.
local function ended(list)
  local last = call('LRANGE', list, -1, -1)[1]
  local epoch, offset = string.match(last or '', '"Pos":"(%d+)%-(%d+)"')
  epoch, offset = tonumber(epoch or 0), tonumber(offset or 0)
  if epoch < lastepoch and credible(epoch, offset) then return epoch, offset end
  return 0, 0
end

-- Returns an eighth of the time that a history is kept. Time is divided into windows of this
-- length. A script renews the expiry of a key only at the first publication in a window. So it
-- gives the key an eighth more time than the key must last.
local function eighthof(age) return math.ceil(age / 8) end

