-- Takes over a topic's history and last position, as relays of the earlier layout left them. The
-- relay takes over the topic's marks with publish.lua.
--
-- KEYS[1] the topic's record      KEYS[2] the list of its history
-- KEYS[3] the earlier layout's history, a stream whose entry ids are positions
-- KEYS[4] the earlier layout's last position. Behind a space come the identities of the servers
--         that gave this position, separated by commas.
-- ARGV[1] [2] how many milliseconds a history and a last position are kept
--
-- The entries and the last position count as published at the time of the call. Of the history, the
-- script takes over the entries that lead to the last position without a gap. It takes over nothing
-- if the topic has a record with a credible position that is not too old, or if the earlier layout
-- left no credible position. Then the list stays as it is. In any case the script deletes the keys
-- of the earlier layout. If the contents of a key have another form, they are not of that layout,
-- and the key stays. Returns how many keys it deleted.

local age, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = call('TIME')
local now = math.floor((time[1] * 1000000 + time[2]) / 1000)

local e, o, servers = string.match(call('GET', KEYS[4]) or '', '^(%d+)%-(%d+) ?(%S*)$')
local topepoch, topoffset = tonumber(e or 0), tonumber(o or 0)
local ours = {e and KEYS[4]} -- the keys to delete

-- Returns whether a stream's entry is a publication at the position that the entry's id says.
local function publication(entry)
  return entry[2][1] == 'm' and find(entry[2][2], '"Pos":"' .. entry[1] .. '"', 1, true)
end

local newest = call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if newest and publication(newest) then
  ours[#ours + 1] = KEYS[3]
  local e, o = string.match(newest[1], '^(%d+)-(%d+)$')
  e, o = tonumber(e), tonumber(o)
  if e > topepoch or e == topepoch and o > topoffset then topepoch, topoffset = e, o end
end

local function forget()
  local deleted = 0
  for _, key in ipairs(ours) do deleted = deleted + call('PEXPIRE', key, 0) end
  return deleted
end

local epoch, offset, stamp, writer, mark, set, ng, nm, hashed, others = open(KEYS[1])
if not epoch then
  epoch, offset, stamp, writer, mark, set, ng, nm, hashed, others = 0, 0, 0, string.rep('\0', 16), 0, 0, 0, 0, 0, ''
end
local lives = now - stamp < keep and offset > 0 and credible(epoch, offset)
if lives or not credible(topepoch, topoffset) then return forget() end

local id = format('%d-%d', topepoch, topoffset)
local begin, count = id, 0
call('LTRIM', KEYS[2], 1, 0)
local few = 8 -- few entries at once, since an entry has up to 1 MiB
while id do
  local entries = call('XREVRANGE', KEYS[3], begin, '-', 'COUNT', few)
  for _, entry in ipairs(entries) do
    if entry[1] ~= id or not publication(entry) then
      id = nil
      break
    end
    local json = entry[2][2]
    call('LPUSH', KEYS[2], json)
    count = count + 1
    begin = '(' .. id
    local e, o = string.match(id, '^(%d+)-(%d+)$')
    id = o ~= '1' and format('%s-%d', e, tonumber(o) - 1) or string.match(json, '"Prev":"(%d+%-%d+)"')
  end
  if #entries < few then break end
end
if count > 0 then call('PEXPIRE', KEYS[2], age + eighthof(age)) end

others, ng = sub(others, 8 * ng + 1), 0
local gave = ''
for one in string.gmatch(servers or '', '[^,]+') do
  if #one == 8 and ng < mostgivers then gave, ng = gave .. one, ng + 1 end
end
local all = pack(head, topepoch, topoffset, now, writer, mark, set, ng, nm, hashed) .. gave .. others
call('SET', KEYS[1], all, 'PX', keep + eighthof(age))
return forget()
