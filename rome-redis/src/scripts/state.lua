-- What the scripts share: numbers, the lay-out of stored values, and guards.
-- A version is 8 bytes, big-endian. As a Lua number it is exact up to 2^53, which no home reaches.
-- A stored value is its version followed by the bytes. KEYS[1] is the home's data, KEYS[2] its meta data.

-- Values of this many bytes are taken from a hash in one call, and this many elements at most (Lua's stack is bounded).
local CHUNK_BYTES, CHUNK_ELEMENTS = 1048576, 512
-- Values of unknown size are taken this many at a time.
local POINTS_AT_ONCE = 8
-- A script looks at no more keys than this to validate ranges; beyond it reports a conflict, which may be a false one.
local keys_to_validate = 4096

-- Locals are cheaper than globals.
local KEYS, ARGV = KEYS, ARGV
local data, meta = KEYS[1], KEYS[2]
local call, pack, unpack_bytes = redis.call, struct.pack, struct.unpack
local floor, max, min = math.floor, math.max, math.min

local function corrupt(what)
  return { err = 'ROMECORRUPT ' .. what }
end

local function number(bytes)
  return (unpack_bytes('>I8', bytes))
end

-- The version of the home, from its field in the data.
local function parse_version(stored)
  if not stored then return 0 end
  if #stored ~= 8 or stored:byte(1) ~= 0 or stored:byte(2) >= 32 then
    error(corrupt('the version of the home'))
  end
  return number(stored)
end

-- The version of the last commit that wrote in a space, and the most bytes that a value in it ever had.
local spaces = {}

local function parse_space(space, stored)
  local state = { version = 0, largest = 0 }
  if stored then
    if #stored ~= 12 then error(corrupt('the state of a space')) end
    state.version, state.largest = unpack_bytes('>I8I4', stored)
  end
  spaces[space] = state
  return state
end

local function space_state(space)
  return spaces[space] or parse_space(space, call('HGET', meta, 's' .. space))
end

-- How many values of a space may be fetched at once when so many bytes are wanted.
local function chunk_of(space, bytes)
  local largest = max(space_state(space).largest, 1)
  return max(1, min(CHUNK_ELEMENTS, floor(bytes / largest)))
end

-- The epoch of the home, 8 bytes, from its field in the data, where the connection is of the history `own` ('' if the server names none) and
-- the request relies on the epoch `relied` ('' for any).
local function parse_epoch(stored, own, relied)
  if own == '' then return '' end
  local epoch = own
  if stored then
    if #stored ~= 16 then error(corrupt('the epoch of the home')) end
    if stored:sub(1, 8) ~= own then error({ err = 'ROMETAKENOVER the home was used in another history' }) end
    epoch = stored:sub(9)
  end
  if relied ~= '' and relied ~= epoch then error({ err = 'ROMEEPOCH the home is in another epoch' }) end
  return epoch
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

-- Checks the guards that begin at ARGV[at]. Returns the index of the first that fails or nil, where the arguments go on, the home's
-- version and its epoch, and the field of the epoch, which is absent before the first commit. The epoch is checked before the guards, whose versions belong to
-- it. The keys that guards name are fetched together with it, a few at a time, since their values may be large.
local function failing_guard(at, guards, own, relied)
  local fields, last, ahead = { 'v', 'e' }, 2, at
  for _ = 1, guards do
    local kind = ARGV[ahead]
    if kind == 'r' then
      ahead = ahead + 7
    elseif kind == 'u' then
      ahead = ahead + 3
    else
      last = last + 1
      fields[last] = ARGV[ahead + 1]
      ahead = ahead + (kind == 'v' and 3 or 2)
    end
  end
  local fetched, first, field = call('HMGET', data, unpack(fields, 1, min(last, POINTS_AT_ONCE))), 1, 2
  local version, epoch_field = parse_version(fetched[1]), fetched[2]
  local epoch = parse_epoch(epoch_field, own, relied)
  for i = 0, guards - 1 do
    local kind, holds = ARGV[at], nil
    if kind == 'r' then
      holds = range_unchanged(KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4],
        number(ARGV[at + 5]), tonumber(ARGV[at + 6]))
      at = at + 7
    elseif kind == 'u' then
      holds = space_state(ARGV[at + 1]).version <= number(ARGV[at + 2])
      at = at + 3
    else
      field = field + 1
      if field - first == POINTS_AT_ONCE then
        first = field
        fetched = call('HMGET', data, unpack(fields, first, min(last, first + POINTS_AT_ONCE - 1)))
      end
      local value = fetched[field - first + 1]
      if kind == 'v' then
        holds = value and check_value(value):sub(1, 8) == ARGV[at + 2]
        at = at + 3
      else
        holds = (value and 'p' or 'a') == kind
        at = at + 2
      end
    end
    if not holds then return i, ahead, version, epoch, epoch_field end
  end
  return nil, ahead, version, epoch, epoch_field
end

