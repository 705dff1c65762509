#!lua flags=allow-oom
-- Puts a settled hour in place of its fresh steps, unless there are more of them by now. KEYS: settled hours, fresh
-- hours, peaks, settled steps, fresh steps of the hour. ARGV: the hour, its commits as seen, its changes, peaks, steps.
-- Returns 1 where it is done, else 0.
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[5])
redis.call('DEL', KEYS[5])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
