#!lua flags=allow-oom
-- Removes settled hours and keeps their sum. KEYS: settled hours, peaks, settled steps. ARGV: the sum as seen ('' for
-- none) and as it is to be; then each hour and its changes as seen. Returns 1 where it is done, 0 where one was changed.
if (redis.call('HGET', KEYS[1], 'before') or '') ~= ARGV[1] then
  return 0
end
for place = 3, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[place]) ~= ARGV[place + 1] then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'before', ARGV[2])
for place = 3, #ARGV, 2 do
  for _, key in ipairs(KEYS) do
    redis.call('HDEL', key, ARGV[place])
  end
end
return 1
