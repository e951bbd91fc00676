-- The record of a topic, as the scripts that follow this text use it.
--
-- A record is one string: entry, givers, marks, foot. What is often written is at its end, so that
-- one GETRANGE reads it without the entry.
--   entry    the JSON of the history's only publication; a longer history is in the list
--   givers   the identities of servers that gave positions, the newest first, of 8 bytes each
--   marks    of writers but the last one, the latest first: instance, number, time of setting
--   foot     the numbers below, of 64 bytes
-- Times are Redis' own, in milliseconds. A script that finds no record of this form finds none.
local call, format = redis.call, string.format
local pack, unpack, sub, find = struct.pack, struct.unpack, string.sub, string.find

-- Epoch, offset and time of the last publication; length of the entry; instance, number and time of
-- the last writer's mark; counts of givers and marks; where the history is; whether the hash has
-- marks (1, else 0).
local foot, footlength = '>I8I8I8I4c16I8I8BBBB', 64

local none, single, long = 0, 1, 2 -- where the history is: nowhere, in the record, in the list
local givers, marks = 8, 15 -- that a record has at most
local likely = footlength + 8 + 2 * 32 -- bytes that are read at first

-- The last epoch and offset that anybody believes: protocol.MaxEpoch and protocol.MaxOffset. All
-- numbers stay below 2^53, where Lua is exact.
local lastepoch, lastoffset = 2^53 - 2, 2^53 - 2

-- Reads a record. It returns the fields of the foot, and the givers and marks as one string; or
-- nothing.
local function open(key)
  local part = call('GETRANGE', key, -likely, -1)
  if #part < footlength then return end
  local epoch, offset, stamp, length, writer, mark, set, ng, nm, where, hashed = unpack(foot, part, #part - footlength + 1)
  local need = footlength + 8 * ng + 32 * nm
  if ng > givers or nm > marks or where > long then return end
  if #part < need then part = call('GETRANGE', key, -need, -1) end
  if #part < need then return end
  return epoch, offset, stamp, length, writer, mark, set, ng, nm, where, hashed, sub(part, #part - need + 1, -footlength - 1)
end

-- Whether a position is one that anybody believes, and that a topic may go on behind.
local function credible(epoch, offset)
  return epoch > 0 and offset <= lastoffset and (epoch < lastepoch or epoch == lastepoch and offset < lastoffset)
end

