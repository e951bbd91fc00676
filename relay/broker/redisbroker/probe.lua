-- Publishes a probe, and tells the server's identity and the name of the back end. It comes behind
-- the text of publish.lua, which is then the body of the function publish.
--
-- KEYS, ARGV: those of publish.lua, and what follows. The last of ARGV is 1 if this server keeps
-- the back end's name, else 0. If it is 1, the last of KEYS is the key of that name. The script
-- removes this number and this key before it calls publish.
-- Returns the reply of publish, the name or false, and INFO's sections server and replication. A
-- section is an error if INFO is not permitted, or if scripts may not use it.
--
-- INFO comes after the publication, since a server takes a publication only when its promotion is
-- over. One command tells all of this, to keep probes cheap. Probes go on while a relay has nothing
-- to do.

local named = table.remove(ARGV) == '1'
local name = named and redis.call('GET', table.remove(KEYS))
return {publish(), name, redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')}
