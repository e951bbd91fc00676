-- Begins the epoch of a topic without a last position. The topic's first publication is then at
-- offset 1 of that epoch.
--
-- KEYS: the topic's record, the list of its history, the hash of further marks
-- ARGV[1] [2] how many milliseconds the topic's history and its last position are kept
-- ARGV[3] the identity of this server, empty if it is not known
-- ARGV[4] the latest epoch that the relay has seen of any topic, 0 if it has seen none
-- Returns:
--   the topic's last position, or its begun epoch with offset 0
--   the identities of the servers that gave it

local age, keep, identity, latest = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

local epoch, offset, stamp, writer, mark, set, ng, nm, hashed, others = open(KEYS[1])
if not epoch then
  epoch, offset, stamp, writer, mark, set, ng, nm, hashed, others = 0, 0, 0, string.rep('\0', 16), 0, 0, 0, 0, 0, ''
  -- Redis may have evicted only the record, and not the hash.
  if call('HLEN', KEYS[3]) > 0 then hashed = 1 end
end

-- If another server has begun the epoch, a later one is begun in its place. That server may have
-- given positions in its epoch since, and they are lost.
local lives = now - stamp < keep and credible(epoch, offset)
local gave = lives and identity ~= '' and find(sub(others, 1, 8 * ng), identity, 1, true)
if lives and (offset > 0 or gave or ng == 0 or identity == '' or epoch >= lastepoch) then
  return {format('%d-%d', epoch, offset), sub(others, 1, 8 * ng)}
end

if not lives then
  -- A position is forgotten in the same cases as in publish.lua.
  if now - stamp >= keep or epoch >= lastepoch then epoch = 0 end
  others, ng = sub(others, 8 * ng + 1), 0
end
-- The clock may have been set back. So the new epoch is later than all known epochs. The list may
-- have a later epoch than the record, since the record alone may have been lost.
epoch = math.max(micros, epoch + 1, ended(KEYS[2]) + 1, latest + 1)
if identity ~= '' then
  local kept = math.min(ng, mostgivers - 1)
  others, ng = identity .. sub(others, 1, 8 * kept) .. sub(others, 8 * ng + 1), kept + 1
end
local all = pack(head, epoch, 0, now, writer, mark, set, ng, nm, hashed) .. others
call('SET', KEYS[1], all, 'PX', keep + eighthof(age))
return {format('%d-0', epoch), sub(others, 1, 8 * ng)}
