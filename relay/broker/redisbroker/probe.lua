-- Publishes a probe, and tells the server's identity and the name of the back end. Before this text
-- comes the text of publish.lua, as the body of the function publish.
--
-- KEYS, ARGV: those of publish.lua, with these additions. The last of ARGV is 1 if this server
-- keeps the back end's name, else 0. If it is 1, the last of KEYS is the key of that name. The
-- script removes the additions before it calls publish.
--
-- Returns the reply of publish, the name or false, and INFO's sections server and replication. A
-- section is an error if INFO is not permitted, or if scripts may not use it.
--
-- INFO comes after the publication, since a server takes a publication only when its promotion is
-- over. A relay sends probes all the time, even when it has nothing else to do. So one command does
-- all of this, which keeps a probe cheap.

local named = table.remove(ARGV) == '1'
local name = named and redis.call('GET', table.remove(KEYS))
return {publish(), name, redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')}
