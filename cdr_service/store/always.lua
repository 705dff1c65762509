#!lua flags=allow-oom
-- Runs commands that go on while the store is full, all or none. KEYS: every key, once. ARGV: each command as its
-- length, name, key (its place in KEYS), arguments.
local at = 1
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  redis.call(ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])], unpack(ARGV, at + 3, last))
  at = last + 1
end
