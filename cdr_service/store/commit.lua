#!lua
-- One atomic commit: check versions, then write. KEYS: every key, once; below a key is given as its place in KEYS.
-- ARGV: the number of checks; each check as key, version (the first 8 bytes of the value, '' for a key that must not
-- exist); the number of sets to check, each as key, number of members (of one that only grows until it is removed,
-- equally many members are the same members); then each command as its length, name, key, arguments.
-- Returns the places of the keys that were changed meanwhile (then nothing is done), or an empty list.
local at = 2
local changed = {}
for _ = 1, tonumber(ARGV[1]) do
  if redis.call('GETRANGE', KEYS[tonumber(ARGV[at])], 0, 7) ~= ARGV[at + 1] then
    changed[#changed + 1] = ARGV[at]
  end
  at = at + 2
end
local sets = tonumber(ARGV[at])
at = at + 1
for _ = 1, sets do
  if redis.call('SCARD', KEYS[tonumber(ARGV[at])]) ~= tonumber(ARGV[at + 1]) then
    changed[#changed + 1] = ARGV[at]
  end
  at = at + 2
end
if #changed > 0 then
  return changed
end
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  local name, key = ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])]
  local left = redis.call(name, key, unpack(ARGV, at + 3, last))
  if name == 'HINCRBY' and left == 0 then
    -- a count of what is in use that falls to zero leaves nothing behind
    redis.call('HDEL', key, ARGV[at + 3])
  end
  at = last + 1
end
return {}
