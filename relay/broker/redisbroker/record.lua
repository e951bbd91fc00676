-- The record of a topic, as the scripts that follow this text use it: a head, givers, marks.
--   head     the numbers below, of 59 bytes
--   givers   the identities of servers that gave positions, the newest first, of 8 bytes each
--   marks    of writers but the last one, the latest first: instance, number, time of setting
-- Times are Redis' own, in milliseconds. What has another form counts as no record.
local call, format = redis.call, string.format
local pack, unpack, sub, find = struct.pack, struct.unpack, string.sub, string.find

-- Epoch, offset and time of the last publication; instance, number and time of the last writer's
-- mark; counts of givers and marks; whether the hash has marks (1, else 0).
local head, headlength = '>I8I8I8c16I8I8BBB', 59

-- How many givers and marks a record has at most.
local mostgivers, mostmarks = 8, 15

-- The last epoch and offset that anybody believes: protocol.MaxEpoch and protocol.MaxOffset. All
-- numbers stay below 2^53, where Lua is exact.
local lastepoch, lastoffset = 2^53 - 2, 2^53 - 2

-- Reads a record. It returns the fields of the head, and the givers and marks as one string; or
-- nothing.
local function open(key)
  local record = call('GET', key)
  if not record or #record < headlength then return end
  local epoch, offset, stamp, writer, mark, set, ng, nm, hashed = unpack(head, record)
  if ng > mostgivers or nm > mostmarks or #record ~= headlength + 8 * ng + 32 * nm then return end
  return epoch, offset, stamp, writer, mark, set, ng, nm, hashed, sub(record, headlength + 1)
end

-- Whether a position is one that anybody believes, and that a topic may go on behind.
local function credible(epoch, offset)
  return epoch > 0 and offset <= lastoffset and (epoch < lastepoch or epoch == lastepoch and offset < lastoffset)
end

-- Expiries are set when an eighth of the history's age begins, and last an eighth longer.
local function eighthof(age) return math.ceil(age / 8) end

