-- Reads a change stream behind a cursor, together with the home's version.
-- KEYS: 3 stream. ARGV: cursor, entries at most. Answer: {version(8), {{id, {field, entry}}, ...}}.
local version = parse_version(call('HGET', data, 'v'))
return { pack('>I8', version), call('XRANGE', KEYS[3], '(' .. ARGV[1], '+', 'COUNT', ARGV[2]) }
