#!lua
-- Sets a string where it is still what was found. KEYS[1]: the string; ARGV: what was found ('' for none), the new value.
-- Returns 1 where it was set, else 0.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
