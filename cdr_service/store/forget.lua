#!lua flags=allow-oom
-- Removes a field of a hash if it still has the value that was seen. KEYS[1]: the hash; ARGV: the field, the value.
-- Returns 1 where it is removed, else 0.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
