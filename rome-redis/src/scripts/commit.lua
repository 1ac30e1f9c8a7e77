-- Applies a commit: checks everything first, then does only writes that cannot fail.
-- KEYS: 3.. orders and streams by index.
-- ARGV: lane ('' for none, else l, client, lane), sequence(8), stream length, orders, guards, writes, changes, manner ('r': rewrite what the lane
--   holds, 'f': memory is full), history, epoch relied on;
--   then the orders' spaces, the guards, the writes
--   p index-of-order key value | d index-of-order key | a index-of-order key delta min max
-- and the changes: index-of-stream name payload.
-- Answer: 'C' version(8), 'G' guard(8), 'B' write(8), or 'L' (the lane is closed).

local lane, sequence = ARGV[1], ARGV[2]
local FIRST_ORDER, FIRST_SPACE = 3, 11
local NO_VERSION = '\0\0\0\0\0\0\0\0'
local rewrites, is_full = ARGV[8]:find('r', 1, true), ARGV[8]:find('f', 1, true)

local function outcome(kind, value)
  return kind .. pack('>I8', value)
end

-- Sequences are compared by halves, since a Lua number holds only 53 bits.
local function is_later(a, b)
  local a_high, a_low = unpack_bytes('>I4I4', a)
  local b_high, b_low = unpack_bytes('>I4I4', b)
  return a_high > b_high or (a_high == b_high and a_low > b_low)
end

-- What the lane answers without running the commit, or nil.
local function settled(stored)
  if not stored then
    if sequence ~= '\0\0\0\0\0\0\0\1' then return 'L' end
    return nil
  end
  if #stored ~= 17 then error(corrupt('a lane')) end
  local last = stored:sub(1, 8)
  if last == sequence then
    -- A connection that wrote nothing has nothing that replicas could confirm.
    if rewrites then call('HSET', meta, lane, stored) end
    return stored:sub(9)
  end
  if not is_later(sequence, last) then return 'L' end
  return nil
end

-- Lets the writes that follow pass where memory is full: the server refuses what may take memory only until a script has written, and this takes
-- none. For what takes no more room than it leaves, in a lane that is there.
local function pass()
  call('HDEL', meta, lane)
end

-- The outcome of a commit that writes nothing.
local is_open = false
local function refuse(result)
  if is_full and is_open then pass() end
  if lane ~= '' then call('HSET', meta, lane, sequence .. result) end
  return result
end

-- One command with many arguments, which come in pairs where it takes pairs.
local function send(command, key, arguments)
  for first = 1, #arguments, CHUNK_ELEMENTS do
    call(command, key, unpack(arguments, first, min(#arguments, first + CHUNK_ELEMENTS - 1)))
  end
end

-- Makes the function that adds to a counter. Most commits have none and need not pay for it.
local function adder()
  -- 64-bit integers as high * 10^9 + low with 0 <= low < 10^9: each part is exact as a Lua number.
  local BILLION = 1000000000

  local function normal(high, low)
    local carry = floor(low / BILLION)
    return high + carry, low - carry * BILLION
  end

  local function parse_integer(text)
    local sign, digits = text:match('^([+-]?)0*(%d*)$')
    if not sign or not text:find('%d') or #digits > 19 then return nil end
    local high, low = tonumber(digits:sub(1, -10)) or 0, tonumber(digits:sub(-9)) or 0
    if sign == '-' then return normal(-high, -low) end
    return high, low
  end

  local function is_less(a_high, a_low, b_high, b_low)
    return a_high < b_high or (a_high == b_high and a_low < b_low)
  end

  local function format_integer(high, low)
    local sign = ''
    if high < 0 then
      sign = '-'
      high, low = normal(-high, -low)
    end
    if high == 0 then return sign .. string.format('%.0f', low) end
    return sign .. string.format('%.0f%09.0f', high, low)
  end

  local MIN_HIGH, MIN_LOW = parse_integer('-9223372036854775808')
  local MAX_HIGH, MAX_LOW = parse_integer('9223372036854775807')

  -- The text of the counter after the addition, or nil where it would leave its bounds.
  return function(key, delta, lowest, highest)
    local stored = call('HGET', data, key)
    local high, low = 0, 0
    if stored then
      high, low = parse_integer(check_value(stored):sub(9))
      if not high or is_less(high, low, MIN_HIGH, MIN_LOW) or is_less(MAX_HIGH, MAX_LOW, high, low) then
        error(corrupt('a counter that is no integer'))
      end
    end
    local delta_high, delta_low = parse_integer(delta)
    high, low = normal(high + delta_high, low + delta_low)
    local min_high, min_low = parse_integer(lowest)
    local max_high, max_low = parse_integer(highest)
    if is_less(high, low, min_high, min_low) or is_less(max_high, max_low, high, low) then return nil end
    return format_integer(high, low)
  end
end

-- Checks. Each command on a key also proves its type.
local orders, guards, writes, changes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local fields = { lane }
for order = 0, orders - 1 do fields[order + 2] = 's' .. ARGV[FIRST_SPACE + order] end
local known = call('HMGET', meta, unpack(fields))
if lane ~= '' then
  local result = settled(known[1])
  if result then return result end
  is_open = known[1]
end
for order = 0, orders - 1 do parse_space(ARGV[FIRST_SPACE + order], known[order + 2]) end
local failing, first_write, version, _, epoch_field = failing_guard(FIRST_SPACE + orders, guards, ARGV[9], ARGV[10])
if failing then return refuse(outcome('G', failing)) end
if writes + changes == 0 then return refuse(outcome('C', version)) end
version = version + 1
-- A single order is proved by the first write.
if orders > 1 or changes > 0 then
  for order = 0, orders - 1 do call('ZCARD', KEYS[FIRST_ORDER + order]) end
end
local at, sum, sums = first_write, nil, {}
for write = 0, writes - 1 do
  local kind = ARGV[at]
  if kind == 'a' then
    sum = sum or adder()
    local text = sum(ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
    if not text then return refuse(outcome('B', write)) end
    sums[write] = text
    at = at + 6
  else
    at = at + (kind == 'p' and 4 or 3)
  end
end
local id, previous
if changes > 0 then
  id, previous = string.format('%.0f-0', version), {}
  for change = 0, changes - 1 do
    local first = at + 3 * change
    if #call('XRANGE', KEYS[tonumber(ARGV[first])], id, '+', 'COUNT', 1) > 0 then
      error(corrupt('a change stream that is ahead of its home'))
    end
    previous[change] = call('HGET', meta, 'c' .. ARGV[first + 1]) or NO_VERSION
    if #previous[change] ~= 8 then error(corrupt('the state of a change stream')) end
  end
end

-- The bytes by which the home grows, about.
local function growth()
  local grown, next_write = 0, first_write
  for _ = 1, writes do
    local kind, key = ARGV[next_write], ARGV[next_write + 2]
    local held = call('HSTRLEN', data, key)
    -- A key lies in the data and in its order.
    if held > 0 then grown = grown - held - 2 * #key end
    if kind == 'd' then
      next_write = next_write + 3
    else
      grown = grown + 2 * #key + 8 + (kind == 'p' and #ARGV[next_write + 3] or 20)
      next_write = next_write + (kind == 'p' and 4 or 6)
    end
  end
  for change = 0, changes - 1 do grown = grown + #ARGV[at + 3 * change + 2] end
  return grown
end
if is_full and is_open and growth() <= 0 then pass() end

-- Writes. If memory is full, the first of them fails and the others are not reached; after the first, none is refused.
local stamp, result = pack('>I8', version), outcome('C', version)
local states = {}
for change = 0, changes - 1 do
  local first = at + 3 * change
  call('XADD', KEYS[tonumber(ARGV[first])], 'MAXLEN', '~', ARGV[3], id, 'e', previous[change] .. ARGV[first + 2])
  states[#states + 1] = 'c' .. ARGV[first + 1]
  states[#states + 1] = stamp
end
local puts, deletes, entered, left, largest = {}, {}, {}, {}, {}
at = first_write
for write = 0, writes - 1 do
  local kind, order, key = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  if kind == 'd' then
    deletes[#deletes + 1] = key
    local members = left[order] or {}
    left[order] = members
    members[#members + 1] = key:sub(5)
    largest[order] = largest[order] or 0
    at = at + 3
  else
    local value = stamp .. (sums[write] or ARGV[at + 3])
    puts[#puts + 1] = key
    puts[#puts + 1] = value
    local members = entered[order] or {}
    entered[order] = members
    members[#members + 1] = '0'
    members[#members + 1] = key:sub(5)
    largest[order] = max(largest[order] or 0, #value)
    at = at + (kind == 'a' and 6 or 4)
  end
end
for order, members in pairs(entered) do send('ZADD', KEYS[order], members) end
for order, members in pairs(left) do send('ZREM', KEYS[order], members) end
send('HDEL', data, deletes)
puts[#puts + 1] = 'v'
puts[#puts + 1] = stamp
if not epoch_field and ARGV[9] ~= '' then
  puts[#puts + 1] = 'e'
  puts[#puts + 1] = ARGV[9] .. ARGV[9]
end
send('HSET', data, puts)
for order, size in pairs(largest) do
  local space = ARGV[FIRST_SPACE + order - FIRST_ORDER]
  states[#states + 1] = 's' .. space
  states[#states + 1] = pack('>I8I4', version, max(space_state(space).largest, size))
end
if lane ~= '' then
  states[#states + 1] = lane
  states[#states + 1] = sequence .. result
end
send('HSET', meta, states)
return result
