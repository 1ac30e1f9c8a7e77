-- Answers reads from one state of the home.
-- ARGV: guards, reads, bytes for each range, history, epoch relied on; then the guards, then the reads:
--   p key | r index-of-order space from to limit reverse | f (the same as r)
-- Answer: the index of a guard, or {version(8) epoch(8 or none), one answer for each read}:
--   p: the stored value or nil | r: {more, keys, values, keys, values, ..} | f: {more, keys, values, targets, keys, ..}
-- where more is 1 or 0, and a target is a stored value or nil. Returning the arrays that the commands gave costs least.

-- All ranges of a request together; each range gets at least one entry.
local entries_left, bytes_left = 2048, 2097152
-- How many index entries are taken before it is known how large their targets are.
local FIRST_TARGETS = 16
local page_bytes = tonumber(ARGV[3])

local function targets_of(values)
  local keys, size, space = {}, 0, nil
  for i = 1, #values do keys[i] = values[i]:sub(9) end
  local targets = call('HMGET', data, unpack(keys))
  for i = 1, #keys do
    -- Shorter names are the home's own fields.
    if #keys[i] < 4 then targets[i] = false end
    if targets[i] then
      size = size + #keys[i] + #targets[i]
      space = keys[i]:sub(1, 4)
    end
  end
  return targets, size, space
end

local function read_range(zset, space, from, to, limit, reverse, follow)
  local answer, count, bytes = { 0 }, 0, max(1, min(page_bytes, bytes_left))
  local target_space
  limit = min(limit, max(entries_left, 1))
  while count < limit and bytes > 0 do
    local chunk = chunk_of(space, bytes)
    if follow then chunk = min(chunk, target_space and chunk_of(target_space, bytes) or FIRST_TARGETS) end
    -- One more than wanted tells whether anything follows.
    local want = min(limit - count, chunk) + 1
    local keys
    if reverse then
      keys = call('ZREVRANGEBYLEX', zset, to, from, 'LIMIT', 0, want)
    else
      keys = call('ZRANGEBYLEX', zset, from, to, 'LIMIT', 0, want)
    end
    local found = #keys
    answer[1] = found == want and 1 or 0
    if found == want then
      keys[want] = nil
      found = want - 1
    end
    if found == 0 then break end
    if reverse then to = '(' .. keys[found] else from = '(' .. keys[found] end
    for i = 1, found do keys[i] = space .. keys[i] end
    local values, size = call('HMGET', data, unpack(keys)), 0
    for i = 1, found do
      local value = values[i]
      if not value then error(corrupt('a key in its order but not in the data')) end
      size = size + #keys[i] + #value
    end
    answer[#answer + 1] = keys
    answer[#answer + 1] = values
    if follow then
      local targets, targets_size
      targets, targets_size, target_space = targets_of(values)
      answer[#answer + 1] = targets
      size = size + targets_size
    end
    count = count + found
    bytes = bytes - size
    entries_left = entries_left - found
    bytes_left = bytes_left - size
    if answer[1] == 0 then break end
  end
  return answer
end

local failing, at, version, epoch = failing_guard(6, tonumber(ARGV[1]), ARGV[4], ARGV[5])
if failing then return failing end
local answers, read, reads = { pack('>I8', version) .. epoch }, 1, tonumber(ARGV[2])
while read <= reads do
  if ARGV[at] == 'p' then
    -- Points that follow each other are fetched together.
    local keys = {}
    while ARGV[at] == 'p' and read + #keys <= reads and #keys < CHUNK_ELEMENTS do
      keys[#keys + 1] = ARGV[at + 1]
      at = at + 2
    end
    local values = call('HMGET', data, unpack(keys))
    for i = 1, #keys do answers[read + i] = values[i] end
    read = read + #keys
  else
    answers[read + 1] = read_range(KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4],
      tonumber(ARGV[at + 5]), ARGV[at + 6] == '1', ARGV[at] == 'f')
    at = at + 7
    read = read + 1
  end
end
return answers
