#!lua flags=allow-oom
-- Begins an epoch of a home, unless another client was faster. A full server must not stop its homes from being read.
-- KEYS: data. ARGV: the epoch's field as it was, and as it becomes.
if redis.call('HGET', KEYS[1], 'e') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'e', ARGV[2])
end
return 1
