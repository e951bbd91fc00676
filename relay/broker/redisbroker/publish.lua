-- Publishes messages of one or more topics in one step. To publish a message, the script appends it
-- to the topic's history, sets the mark of its instance, and runs PUBLISH or SPUBLISH.
--
-- KEYS, for each topic: its record, the list of its history, the hash of further marks
-- ARGV[1] how many entries of a history are kept
-- ARGV[2] [3] how many milliseconds a history and a mark are kept. A last position is kept as long
--   as both together.
-- ARGV[4] empty, or what is kept of each topic in place of ARGV[1] [2]: a size and an age, of eight
--   bytes each, one topic behind the other. No size is less than ARGV[1], no age less than ARGV[2].
-- ARGV[5] the identity of this server, empty if it is not known
-- ARGV[6] the latest epoch that the publisher has seen of any topic, 0 if it has seen none
-- ARGV[7] the command to publish with: publish or spublish
-- ARGV, for each topic: its channel
-- ARGV, for each message: its numbers (see item), and its JSON up to the position. The messages of
--   one topic are next to each other.
-- Returns a line for each message, in the order of their places (see item). The line is one of:
--   the position that the message was published at
--   "duplicate P", where P is the topic's top (0-0: none is known)
--   "refused"
--   "failed" and an error
--
-- All is written before anything is published. If Redis lacks memory, or is a replica, it refuses
-- the first write. After a write has succeeded, it refuses no later one for these reasons. So each
-- message is both written and published, or neither. Without the permission for PUBLISH or
-- SPUBLISH, the script would fail after its writes. So a relay does not use a Redis that refuses
-- that command.

-- The numbers of a message: instance, number, predecessor and floor; epoch and offset of the
-- highest position that the publisher knows (0 0: none); the number of the topic in KEYS; the
-- message's place in the answer. The last two count from 1. The topic's number begins at the byte
-- topicat of an item.
local item, topicat = '>c16I8I8I8I8I8I2I2', 57

local usualsize, usualage, markage, raised = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local identity, latest = ARGV[5], tonumber(ARGV[6])

local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

-- The windows are the same for all topics, also for those that are kept for longer. So if a topic
-- begins to be kept for longer, its keys get their new expiry soon.
local eighth = eighthof(usualage)
local window = now - now % eighth

local answers, texts, channels = {}, {}, {}

-- Takes the mark of an instance out of the string marks. It returns the number and the time of that
-- mark, and the string of the other marks. If the string has no mark of the instance, the number
-- and the time are those of the mark in the hash. They are 0 0 if that hash has no mark of the
-- instance, or if the argument hash is false.
local function take(marks, instance, hash)
  local at = find(marks, instance, 1, true)
  while at and at % 32 ~= 1 do at = find(marks, instance, at + 1, true) end
  if at then
    local mark, set = unpack('>I8I8', marks, at + 16)
    return mark, set, sub(marks, 1, at - 1) .. sub(marks, at + 32)
  end
  local kept = hash and call('HGET', hash, instance)
  if kept and #kept == 16 then
    local mark, set = unpack('>I8I8', kept)
    return mark, set, marks
  end
  return 0, 0, marks
end

-- Removes marks that are too old from the hash, if the new marks made the length of the hash reach
-- or pass a multiple of 64. The argument new is the number of new marks.
local function purge(hash, new)
  if call('HLEN', hash) % 64 >= new then return end
  local all, old = call('HGETALL', hash), {}
  for i = 1, #all, 2 do
    if #all[i + 1] ~= 16 or now - unpack('>I8', all[i + 1], 9) >= markage then old[#old + 1] = all[i] end
  end
  for _, instance in ipairs(old) do call('HDEL', hash, instance) end
end

-- Publishes messages to one topic. The numbers of the first message are ARGV[first], and those of
-- the last message are ARGV[last]. The JSON of a message is the argument behind its numbers.
local function publish(topic, first, last)
  local record, list, hash, channel = KEYS[3 * topic - 2], KEYS[3 * topic - 1], KEYS[3 * topic], ARGV[7 + topic]
  local epoch, offset, stamp, writer, mark, set, ng, nm, hashed, others = open(record)
  local found, size, age = epoch, usualsize, usualage
  if raised ~= '' then size, age = unpack('>I8I8', raised, 16 * topic - 15) end
  local keep = age + markage
  if not found then
    epoch, offset, stamp, writer, mark, set, ng, nm, hashed, others = 0, 0, 0, '', 0, 0, 0, 0, 0, ''
    -- Redis may have evicted only the record, and not the hash.
    if call('HLEN', hash) > 0 then hashed = 1 end
  end
  local before = stamp

  -- Whether the list has nothing that counts. In a begun epoch nothing was published yet.
  local afresh = offset == 0 or now - stamp >= age

  -- In three cases the givers and the list do not count any more:
  -- - The last position is too old. It is forgotten.
  -- - The last position is not credible, and is in the last epoch or after it. It is forgotten.
  -- - The last position is not credible, since it is beyond the last offset of an earlier epoch. It
  --   is kept, so that the next message begins a later epoch.
  if now - stamp >= keep or not credible(epoch, offset) then
    if now - stamp >= keep or epoch >= lastepoch then epoch, offset = 0, 0 end
    others, ng, afresh = sub(others, 8 * ng + 1), 0, true
  end

  -- The variable gave says whether this server's identity is among the givers, newest or not. A
  -- server never gets back an earlier identity of its own. But behind a proxy, each connection may
  -- lead to another server, and an earlier identity may come back. That says nothing about the
  -- data.
  local gave = identity ~= '' and find(sub(others, 1, 8 * ng), identity, 1, true)

  local entries = {} -- the JSON of the messages, for the list
  local displaced -- the marks that go to the hash, by instance; nil if there are none
  local dirty
  for at = first, last, 2 do
    local instance, number, predecessor, floor, knownepoch, knownoffset, _, place = unpack(item, ARGV[at])
    if instance ~= writer then
      local marks = sub(others, 8 * ng + 1)
      local m, s, kept = 0, 0, displaced and displaced[instance]
      if kept then
        m, s = unpack('>I8I8', kept)
      else
        m, s, marks = take(marks, instance, hashed == 1 and hash)
      end
      if mark > 0 then marks = pack('>c16I8I8', writer, mark, set) .. marks end
      local most = 32 * mostmarks
      if #marks > most then
        displaced, hashed = displaced or {}, 1
        displaced[sub(marks, most + 1, most + 16)] = sub(marks, most + 17)
        marks = sub(marks, 1, most)
      end
      writer, mark, set, nm, others = instance, m, s, #marks / 32, sub(others, 1, 8 * ng) .. marks
    end
    if now - set >= markage then mark = 0 end
    if mark < floor then mark, set, dirty = floor, now, true end

    local text, id
    if number <= mark then
      text = 'duplicate ' .. (offset > 0 and credible(epoch, offset) and format('%d-%d', epoch, offset) or '0-0')
    elseif mark < predecessor then
      text = 'refused'
    else
      -- No epoch can begin after the last one. So a known position in the last epoch, or after it,
      -- is ignored.
      if knownepoch >= lastepoch then knownepoch, knownoffset = 0, 0 end

      -- The topic goes on in its epoch, if it has one. Otherwise it begins an epoch. It also begins
      -- one in three cases:
      -- - Another server gave the last position. That position is of a snapshot, or of a replica
      --   that may have been behind. More positions may have been given since. This case does not
      --   count in the last epoch.
      -- - The publisher has seen a later position. What was there is lost.
      -- - The last position has the last offset.
      -- The first message of an epoch tells where the epoch before ended. So a receiver learns
      -- whether it missed the end of that epoch.
      local json = ARGV[at + 1]
      local goeson = epoch > 0 and offset < lastoffset
        and (gave or ng == 0 or identity == '' or epoch >= lastepoch)
        and not (epoch < knownepoch or epoch == knownepoch and offset < knownoffset)
      if goeson and offset > 0 then
        offset = offset + 1
        id = format('%d-%d', epoch, offset)
        json = json .. id .. '"}'
      else
        -- If only the record was lost, the list tells the last position. After that, a Begin may
        -- have written a record with a begun epoch. The list still tells the last position then.
        local endepoch, endoffset = epoch, offset
        if stamp == 0 or epoch > 0 and offset == 0 then endepoch, endoffset = ended(list) end
        if not goeson then
          -- The clock may have been set back. So the new epoch is later than all known epochs.
          epoch = math.max(micros, knownepoch + 1, epoch + 1, endepoch + 1, latest + 1)
        end
        id, offset = format('%d-1', epoch), 1
        if endepoch > 0 and endoffset <= lastoffset then
          json = json .. id .. format('","Prev":"%d-%d"}', endepoch, endoffset)
        else
          json = json .. id .. '"}'
        end
      end
      if identity ~= '' and not gave then
        local kept = math.min(ng, mostgivers - 1)
        others, ng, gave = identity .. sub(others, 1, 8 * kept) .. sub(others, 8 * ng + 1), kept + 1, true
      end
      entries[#entries + 1] = json
      mark, set, stamp, dirty = number, now, now, true
      texts[place], channels[place] = json, channel
    end
    answers[place] = id or text
  end
  if not dirty then return end

  -- The marks that go to the hash may be those of messages that this call publishes. Once they are
  -- in the hash, RPUSH must not fail. It would fail if the list's key held no list. So the script
  -- runs LLEN first, which fails for the same reason.
  if displaced then
    local new = 0
    if entries[1] then call('LLEN', list) end
    for instance, kept in pairs(displaced) do new = new + call('HSET', hash, instance, kept) end
    call('PEXPIRE', hash, markage)
    purge(hash, new)
  end
  local renew = before < window
  if entries[1] then
    local n = call('RPUSH', list, _G.unpack(entries))
    if afresh and n > #entries then
      call('LTRIM', list, -#entries, -1)
    elseif n > size + size / 8 then
      call('LTRIM', list, -size, -1)
    end
    if renew or afresh or n == #entries then call('PEXPIRE', list, age + eighth) end
  end
  local all = pack(head, epoch, offset, stamp, writer, mark, set, ng, nm, hashed) .. others
  if found and not renew then
    call('SET', record, all, 'KEEPTTL')
  else
    call('SET', record, all, 'PX', keep + eighth)
  end
end

-- Returns "failed" and the text of an error, in one line.
local function failure(err)
  return 'failed ' .. string.gsub(type(err) == 'table' and err.err or tostring(err), '[\r\n]', ' ')
end

local at, last = 8 + #KEYS / 3, #ARGV
while at < last do
  local first, topic = at, unpack('>I2', ARGV[at], topicat)
  repeat at = at + 2 until at > last or unpack('>I2', ARGV[at], topicat) ~= topic
  local ok, err = pcall(publish, topic, first, at - 2)
  if not ok then
    for i = first, at - 2, 2 do
      local _, place = unpack('>I2I2', ARGV[i], topicat)
      answers[place], texts[place] = failure(err), nil
    end
  end
end
for place = 1, #answers do
  if texts[place] then
    local told = redis.pcall(ARGV[7], channels[place], texts[place])
    if type(told) == 'table' then answers[place] = failure(told) end
  end
end
return table.concat(answers, '\n')
