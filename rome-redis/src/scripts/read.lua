-- Answers reads from one state of the home.
-- ARGV: guards, reads, bytes for each range; then the guards, then the reads:
--   p key | r index-of-order space from to limit reverse | f (the same as r)
-- Answer, packed: 'G' guard(8), or 'A' version(8) and for each read: entries(4) more(1), each entry key-length(4)
-- value-length(4) key value, for f followed by target-length(4) target, the length all ones where there is none.

-- All ranges of a request together; each range gets at least one entry.
local entries_left, bytes_left = 8192, 4194304
local FIRST_TARGETS = 16
local NONE = '\255\255\255\255'
local page_bytes = tonumber(ARGV[3])
local out = {}

local function emit(bytes)
  out[#out + 1] = bytes
end

local function emit_entry(key, value)
  emit(pack('>I4I4', #key, #value))
  emit(key)
  emit(check_value(value))
  return #key + #value - 8
end

local function emit_targets(values, slots, follow)
  local keys, size = {}, 0
  for i = 1, #values do keys[i] = values[i]:sub(9) end
  local targets = call('HMGET', data, unpack(keys))
  for i = 1, #keys do
    -- Shorter names are the home's own fields.
    if targets[i] and #keys[i] >= 4 then
      out[slots[i]] = pack('>I4', #targets[i]) .. check_value(targets[i])
      size = size + #keys[i] + #targets[i] - 8
      follow.space = keys[i]:sub(1, 4)
    else
      out[slots[i]] = NONE
    end
  end
  return size
end

-- Emits the entries of these keys and returns their size in bytes.
local function emit_chunk(keys, follow)
  local values = call('HMGET', data, unpack(keys))
  local size, slots = 0, {}
  for i = 1, #keys do
    if not values[i] then error(corrupt('a key in its order but not in the data')) end
    size = size + emit_entry(keys[i], values[i])
    if follow then
      emit('')
      slots[i] = #out
    end
  end
  if follow then size = size + emit_targets(values, slots, follow) end
  return size
end

-- How many entries of a range to take at once. What index entries point to is known only after the first of them.
local function entry_chunk(space, follow, bytes)
  local chunk = chunk_of(space, bytes)
  if not follow then return chunk end
  return min(chunk, follow.space and chunk_of(follow.space, bytes) or FIRST_TARGETS)
end

local function read_range(zset, space, from, to, limit, reverse, follow)
  emit('')
  local header, count, more = #out, 0, 0
  local bytes = max(1, min(page_bytes, bytes_left))
  local cap = min(limit, max(entries_left, 1))
  while count < cap and bytes > 0 do
    -- One more than wanted tells whether anything follows.
    local want = min(cap - count + 1, entry_chunk(space, follow, bytes) + 1)
    local keys
    if reverse then
      keys = call('ZREVRANGEBYLEX', zset, to, from, 'LIMIT', 0, want)
    else
      keys = call('ZRANGEBYLEX', zset, from, to, 'LIMIT', 0, want)
    end
    more = 0
    if #keys == want then
      keys[want] = nil
      more = 1
    end
    if #keys == 0 then break end
    if reverse then to = '(' .. keys[#keys] else from = '(' .. keys[#keys] end
    for i = 1, #keys do keys[i] = space .. keys[i] end
    local size = emit_chunk(keys, follow)
    count = count + #keys
    bytes = bytes - size
    entries_left = entries_left - #keys
    bytes_left = bytes_left - size
    if more == 0 then break end
  end
  out[header] = pack('>I4B', count, more)
end

local failing, at = failing_guard(4, tonumber(ARGV[1]))
if failing then return 'G' .. pack('>I8', failing) end
emit('A' .. pack('>I8', home_version()))
for _ = 1, tonumber(ARGV[2]) do
  if ARGV[at] == 'p' then
    local key = ARGV[at + 1]
    local value = call('HGET', data, key)
    emit(pack('>I4B', value and 1 or 0, 0))
    if value then emit_entry(key, value) end
    at = at + 2
  else
    read_range(KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], tonumber(ARGV[at + 5]),
      ARGV[at + 6] == '1', ARGV[at] == 'f' and {})
    at = at + 7
  end
end
return table.concat(out)
