#!lua
-- Adds to the counts of duplicates of Call Bridges. KEYS: the set of bridges, the hash of counts. ARGV: bridge, count, …
-- One that retention has removed meanwhile gets none, so that nothing of it is left for good.
for place = 1, #ARGV, 2 do
  if redis.call('SISMEMBER', KEYS[1], ARGV[place]) == 1 then
    redis.call('HINCRBY', KEYS[2], ARGV[place], ARGV[place + 1])
  end
end
