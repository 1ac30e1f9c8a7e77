-- What the scripts share: numbers, the lay-out of stored values, and guards.
-- A version is 8 bytes, big-endian. As a Lua number it is exact up to 2^53, which no home reaches.
-- A stored value is its version followed by the bytes. KEYS[1] is the home's data, KEYS[2] its meta data.

-- Values of this many bytes are taken from a hash in one call, and this many elements at most (Lua's stack is bounded).
local CHUNK_BYTES, CHUNK_ELEMENTS = 1048576, 512
-- A script looks at no more keys than this to validate ranges; beyond it reports a conflict, which may be a false one.
local keys_to_validate = 4096

local data, meta = KEYS[1], KEYS[2]
local call, pack, unpack_bytes = redis.call, struct.pack, struct.unpack
local floor, max, min = math.floor, math.max, math.min

local function corrupt(what)
  return { err = 'ROMECORRUPT ' .. what }
end

local function number(bytes)
  return (unpack_bytes('>I8', bytes))
end

local function home_version()
  local stored = call('HGET', data, 'v')
  if not stored then return 0 end
  if #stored ~= 8 or stored:byte(1) ~= 0 or stored:byte(2) >= 32 then
    error(corrupt('the version of the home'))
  end
  return number(stored)
end

-- The version of the last commit that wrote in a space, and the most bytes that a value in it ever had.
local spaces = {}
local function space_state(space)
  local known = spaces[space]
  if not known then
    local stored = call('HGET', meta, 's' .. space)
    known = { version = 0, largest = 0 }
    if stored then
      if #stored ~= 12 then error(corrupt('the state of a space')) end
      known.version, known.largest = unpack_bytes('>I8I4', stored)
    end
    spaces[space] = known
  end
  return known
end

-- How many values of a space may be fetched at once when so many bytes are wanted.
local function chunk_of(space, bytes)
  local largest = max(space_state(space).largest, 1)
  return max(1, min(CHUNK_ELEMENTS, floor(bytes / largest)))
end

local function check_value(value)
  if #value < 8 then error(corrupt('a value without version')) end
  return value
end

local function range_unchanged(zset, space, from, to, since, count)
  local found = call('ZLEXCOUNT', zset, from, to)
  if found ~= count then return false end
  if found == 0 or space_state(space).version <= since then return true end
  if found > keys_to_validate then return false end
  keys_to_validate = keys_to_validate - found
  local chunk = chunk_of(space, CHUNK_BYTES)
  while true do
    local keys = call('ZRANGEBYLEX', zset, from, to, 'LIMIT', 0, chunk)
    if #keys == 0 then return true end
    from = '(' .. keys[#keys]
    for i = 1, #keys do keys[i] = space .. keys[i] end
    local values = call('HMGET', data, unpack(keys))
    for i = 1, #keys do
      if not values[i] then error(corrupt('a key in its order but not in the data')) end
      if number(check_value(values[i])) > since then return false end
    end
  end
end

-- Checks the guards that begin at ARGV[at]. Returns the index of the first that fails or nil, and where the arguments go on.
local function failing_guard(at, guards)
  local failing
  for i = 0, guards - 1 do
    local kind, holds = ARGV[at], nil
    if kind == 'v' then
      local value = not failing and call('HGET', data, ARGV[at + 1])
      holds = value and check_value(value):sub(1, 8) == ARGV[at + 2]
      at = at + 3
    elseif kind == 'p' or kind == 'a' then
      holds = not failing and (call('HEXISTS', data, ARGV[at + 1]) == 1) == (kind == 'p')
      at = at + 2
    elseif kind == 'u' then
      holds = not failing and space_state(ARGV[at + 1]).version <= number(ARGV[at + 2])
      at = at + 3
    else
      holds = not failing and range_unchanged(KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4],
        number(ARGV[at + 5]), tonumber(ARGV[at + 6]))
      at = at + 7
    end
    if not failing and not holds then failing = i end
  end
  return failing, at
end

