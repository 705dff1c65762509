#!lua flags=no-writes
-- Reads the history as it is at one moment. KEYS: settled hours, fresh hours, peaks, settled steps, then the fresh steps
-- of some hours. ARGV: how many hours these are; the hours; then the hours whose peaks are wanted.
-- Returns the settled hours, the fresh ones, the peaks, and by turns the settled and the fresh steps of each hour.
local peaks, steps = {}, {}
local hours = tonumber(ARGV[1])
for place = 1, hours do
  steps[2 * place - 1] = redis.call('HGET', KEYS[4], ARGV[1 + place])
  steps[2 * place] = redis.call('HGETALL', KEYS[4 + place])
end
for place = hours + 2, #ARGV do
  peaks[#peaks + 1] = redis.call('HGET', KEYS[3], ARGV[place])
end
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), peaks, steps}
