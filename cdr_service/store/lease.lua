#!lua flags=allow-oom
-- Takes, prolongs or (with 0) gives up a lease. KEYS[1]: the lease; ARGV: who asks, for how many milliseconds.
-- Returns 1 where it is the asker's now, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
