-- Reads a change stream behind a cursor, together with the home's version.
-- KEYS: 3 stream. ARGV: cursor, entries at most, history. Answer: {version(8) epoch(8 or none), {{id, {field, entry}}, ...}}.
local state = call('HMGET', data, 'v', 'e')
return { pack('>I8', parse_version(state[1])) .. parse_epoch(state[2], ARGV[3], ''), call('XRANGE', KEYS[3], '(' .. ARGV[1], '+', 'COUNT', ARGV[2]) }
