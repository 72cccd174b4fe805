-- Runs a batch of rate limit transactions, each all or nothing, in their order. The rules are those of
-- headgate/limits/engine.py and the arithmetic is that of headgate/limits/algorithms/.
--
-- KEYS: every counter of the batch once, then every record that pools share, then every request that reserves or settles.
-- ARGV: the number of counters, and of records; how many seconds a reservation and a settlement are remembered; the
--   seconds each counter lives if it is new, and each record if it changes, in the order of KEYS; then per transaction
--   1 for all or nothing, 2 likewise but only where none before it back to the last 1 was applied (else it is only looked
--   at), 0 for a settlement, 3 to undo; the number of operations; the index of its request in KEYS, or 0; the time;
--   and for each operation the index of its counter in KEYS, its hits, its limit, and the sum of
--   1 if being over refuses, 2 if it takes no more than is left, 4 to reserve, 8 to settle, 16 to keep what is
--   reserved, 32 if the window slides, 64 if it is a token bucket, 128 if pools share it, 256 if it is a quota, which
--   refuses where all quotas of its transaction are over. Where it reserves, settles or keeps, the end of its
--   window and the length of the window in its key follow; where it slides, the index of the counter of the window
--   before, and how much of it counts, in millionths; of a bucket, the tick it is, a hit's ticks and a second's; where pools
--   share, the span it is, a span's seconds, how many pools there are and which is its own, and of each its name, 1 if it
--   ranks above, what is kept for it and the most it may hold.
-- Returns per transaction: 1 if it was applied, else 0; and per operation the counter it was examined against.
--
-- The counters are read with one MGET and written once each, whatever the number of transactions that share them.
-- A record is a hash: 'newest' is the last span; of each pool 'a:<pool>' is what it was admitted in the window, 'r:<pool>'
-- what it was refused, and 'a<span>:<pool>', 'r<span>:<pool>' the same of one span.
-- A request is a hash: the counter's key without its window -> "<amount> <window's end> <key>"; '' once it is settled.
-- Lua's numbers are doubles: counts stay at most 2^53, and limits and hits at most 2^52 (limits/units.py).

local MAX = 9007199254740992
local STEPS = 60
local SPANS = STEPS + 1
local counters, shared = tonumber(ARGV[1]), tonumber(ARGV[2])
local listed = counters + shared
local names = {unpack(KEYS, 1, counters)}
local stored = counters > 0 and redis.call('MGET', unpack(names)) or {}
local counts = {}
for i = 1, counters do
  counts[i] = tonumber(stored[i] or 0) or error('not a counter: ' .. KEYS[i])
end
local first = {unpack(counts)}
local lives = {unpack(ARGV, 5, 4 + listed)}
local ends = {}

-- What is remembered of requests. Nothing is written before all has been read.
local requests, changed = {}, {}
for i = listed + 1, #KEYS do
  local found = redis.pcall('HGETALL', KEYS[i])
  if found.err then error('not a counter: ' .. KEYS[i]) end
  local held = nil
  for j = 1, #found, 2 do
    held = held or {}
    local amount, window_end, key = found[j + 1]:match('^(%d+) (%d+) (.*)$')
    held[found[j]] = {amount = tonumber(amount), window_end = tonumber(window_end), key = key}
  end
  requests[i] = held
end

local function clamped(count)
  return math.min(math.max(count, 0), MAX)
end

-- What a counter says, and what it becomes: of a bucket { now, hit's ticks } the number stored is when it is full.
local function told(count, bucket)
  if not bucket then return count end
  return math.max(math.ceil((count - bucket[1]) / bucket[2]), 0)
end

local function moved(count, hits, bucket)
  if not bucket then return clamped(count + hits) end
  if hits > 0 then count = math.max(count, bucket[1]) end
  return clamped(count + hits * bucket[2])
end

-- The index of a counter that is not among KEYS: that of an earlier window, or of a unit that is no longer configured.
local function other(key)
  for i = 1, #names do
    if names[i] == key then return i end
  end
  local found = redis.pcall('GET', key)
  local count = type(found) == 'string' and tonumber(found)
  if not count then return nil end
  local index = #names + 1
  names[index], stored[index], counts[index], first[index] = key, found, count, count
  return index
end

-- What pools share: records by index, each { newest, its fields as they are now and as they were, whether it is begun anew }.
local records = {}

local function field(record, name)
  local value = record.now[name]
  if not value then
    value = record.anew and 0 or tonumber(redis.call('HGET', record.key, name) or 0)
    record.now[name], record.was[name] = value, value
  end
  return value
end

local function begin_anew(record)
  record.anew, record.now, record.was = true, {}, {}
end

-- The fields of spans that are over at a span: those of all its pools, also of such as this operation does not know.
local function over_at(record, span)
  local over, last = {}, span - SPANS
  local function look_at(name)
    local of = name:match('^[ar](%d+):')
    if of and tonumber(of) <= last then over[#over + 1] = name end
  end
  for name in pairs(record.now) do look_at(name) end
  for _, name in ipairs(record.anew and {} or redis.call('HKEYS', record.key)) do
    if not record.now[name] then look_at(name) end
  end
  return over
end

-- The record at a span; what is over is taken out of its pools' sums.
local function record_at(index, span, pools)
  local record = records[index]
  if not record then
    local names = {'newest'}
    for _, pool in ipairs(pools) do
      names[#names + 1], names[#names + 2] = 'a:' .. pool.name, 'r:' .. pool.name
    end
    local found = redis.pcall('HMGET', KEYS[index], unpack(names))
    if found.err then error('not a counter: ' .. KEYS[index]) end
    record = {key = KEYS[index], newest = tonumber(found[1] or 0), now = {}, was = {}, undo = {}}
    for i = 2, #names do
      local value = tonumber(found[i] or 0)
      record.now[names[i]], record.was[names[i]] = value, value
    end
    records[index] = record
  end
  if span < record.newest - 10 * STEPS or span >= record.newest + SPANS then
    begin_anew(record)
    record.newest = span
  end
  if span > record.newest then
    for _, name in ipairs(over_at(record, span)) do
      local count = field(record, name)
      record.now[name] = 0
      local sum = name:sub(1, 1) .. name:sub(name:find(':', 1, true), -1)
      record.now[sum] = field(record, sum) - count
    end
    record.newest = span
  end
  return record
end

local function pool_add(record, kind, span, pool, hits, undo)
  if span <= record.newest - SPANS or hits == 0 then return 0 end
  local name, sum = kind .. span .. ':' .. pool, kind .. ':' .. pool
  local before = field(record, name)
  local added = clamped(before + hits) - before
  record.now[name] = before + added
  record.now[sum] = field(record, sum) + added
  record.dirty = true
  if undo then undo[#undo + 1] = {record, name, sum, added} end
  return added
end

-- What an operation is examined against: the limit is reached when nothing more is its pool's own, or there.
local function pool_standing(record, pools, own, limit)
  local mine = field(record, 'a:' .. pools[own].name)
  local taken, total = mine, 0
  for i, pool in ipairs(pools) do
    local admitted = field(record, 'a:' .. pool.name)
    total = total + admitted
    if i ~= own then
      local demand = admitted + field(record, 'r:' .. pool.name)
      local held = pool.above and math.max(pool.least, math.min(pool.most, demand)) or pool.least
      taken = taken + math.max(admitted, held)
    end
  end
  return math.max(math.min(taken, mine + limit - pools[own].least), mine + limit - pools[own].most, total)
end

local function settle(index, hits, keeps, held, now, bucket)
  if not held then
    counts[index] = moved(counts[index], hits, bucket)
    return
  end
  local used = keeps and math.max(hits, held.amount) or hits
  local difference = used - held.amount
  if held.key == names[index] then
    counts[index] = moved(counts[index], difference, bucket)
  elseif held.window_end <= now then
    counts[index] = moved(counts[index], math.max(difference, 0), bucket)
  else
    local earlier = other(held.key)
    if earlier then counts[earlier] = clamped(counts[earlier] + difference) end
  end
end

local replies = {}
local granted = false
local position = 5 + listed
local arguments = #ARGV
while position <= arguments do
  local mode = ARGV[position]
  local all_or_nothing, undoes = mode == '1' or mode == '2', mode == '3'
  if mode ~= '2' then granted = false end
  local looks = granted
  local ops = tonumber(ARGV[position + 1])
  local request = tonumber(ARGV[position + 2])
  local now = tonumber(ARGV[position + 3])
  position = position + 4
  local known = request > 0 and requests[request] or nil
  local repeated = known ~= nil and not undoes and (all_or_nothing or known[''] ~= nil)
  local applied_at = #replies + 1
  replies[applied_at] = looks and 0 or 1
  local undo, pool_undo, refused, held, charged = {}, {}, {}, {}, false
  local quotas, quotas_over = 0, 0
  for _ = 1, ops do
    local index = tonumber(ARGV[position])
    local hits = tonumber(ARGV[position + 1])
    local limit = tonumber(ARGV[position + 2])
    local flags = tonumber(ARGV[position + 3])
    position = position + 4
    local quota = flags >= 256
    if quota then flags = flags - 256 end
    local refuses, lenient, part = flags % 2 == 1, math.floor(flags / 2) % 2 == 1, flags % 32 - flags % 4
    local window_end, stem
    local is_pooled = flags >= 128
    if part > 0 then
      window_end = tonumber(ARGV[position])
      stem = is_pooled and KEYS[index] or names[index]:sub(1, -1 - tonumber(ARGV[position + 1]))
      position = position + 2
    end
    local rest, bucket = 0, nil
    local record, pools, own, span_seconds
    if is_pooled then
      local span, size = tonumber(ARGV[position]), tonumber(ARGV[position + 2])
      span_seconds, own, pools = tonumber(ARGV[position + 1]), tonumber(ARGV[position + 3]), {}
      position = position + 4
      for i = 1, size do
        pools[i] = {
          name = ARGV[position], above = ARGV[position + 1] == '1',
          least = tonumber(ARGV[position + 2]), most = tonumber(ARGV[position + 3])
        }
        position = position + 4
      end
      record = record_at(index, span, pools)
    elseif flags >= 64 then
      bucket = {tonumber(ARGV[position]), tonumber(ARGV[position + 1])}
      ends[index] = {bucket[1], tonumber(ARGV[position + 2])}
      position = position + 3
    elseif flags >= 32 then
      rest = math.floor(counts[tonumber(ARGV[position])] * (tonumber(ARGV[position + 1]) / 1000000))
      position = position + 2
    end
    local before = record and pool_standing(record, pools, own, limit) or told(counts[index], bucket) + rest
    if looks then
      replies[#replies + 1] = before
    elseif undoes and record then
      pool_add(record, 'a', record.newest, pools[own].name, hits)
      replies[#replies + 1] = before
    elseif undoes then
      -- What has expired meanwhile shall not come back as a counter without an end.
      if stored[index] or counts[index] ~= first[index] then counts[index] = moved(counts[index], hits, bucket) end
      replies[#replies + 1] = before
    elseif repeated then
      local mine = stem and known[stem]
      local named = record and KEYS[index] .. string.format('%.0f', record.newest) or names[index]
      if mine and mine.key == named then before = before - mine.amount end
      if hits >= 0 then
        before = math.max(math.min(before, limit - (lenient and 1 or math.max(hits, 1))), 0)
      end
      replies[#replies + 1] = before
    elseif part >= 8 and record then
      local mine, span, difference = known and known[stem], record.newest, hits
      if mine then
        local used = part == 16 and math.max(hits, mine.amount) or hits
        local earlier = tonumber(mine.key:sub(#stem + 1))
        difference = used - mine.amount
        if earlier > span - SPANS and earlier <= span then span = earlier else difference = math.max(difference, 0) end
        known[stem] = nil
      end
      pool_add(record, 'a', span, pools[own].name, difference)
      charged = charged or hits ~= 0
      replies[#replies + 1] = math.max(pool_standing(record, pools, own, limit) - hits, 0)
    elseif part >= 8 then
      settle(index, hits, part == 16, known and known[stem], now, bucket)
      if known then known[stem] = nil end
      charged = charged or hits ~= 0
      replies[#replies + 1] = math.max(told(counts[index], bucket) - hits, 0) + rest
    else
      replies[#replies + 1] = before
      if all_or_nothing and (refuses or quota) then
        local over = before >= limit
        if hits ~= 0 and not lenient then over = hits > 0 and before + hits > limit end
        if quota then
          quotas = quotas + 1
          quotas_over = quotas_over + (over and 1 or 0)
        elseif over then
          replies[applied_at] = 0
          if record and hits > 0 then refused[#refused + 1] = {record, pools[own].name, hits} end
        end
      end
      if lenient and before + hits > limit then hits = math.max(limit - before, 0) end
      charged = charged or hits ~= 0
      if bucket and hits < 0 then hits = math.max(hits, -before) end
      if hits ~= 0 and record then
        local added = pool_add(record, 'a', record.newest, pools[own].name, clamped(before + hits) - before, pool_undo)
        if part == 4 and added > 0 then
          held[stem] = {
            amount = added + (held[stem] and held[stem].amount or 0),
            window_end = (record.newest + SPANS) * span_seconds, key = stem .. string.format('%.0f', record.newest)
          }
        end
      elseif hits ~= 0 then
        undo[#undo + 1] = index
        local count = counts[index]
        undo[#undo + 1] = count
        if bucket then
          counts[index] = moved(count, hits, bucket)
        else
          counts[index] = clamped(clamped(before + hits) - rest)
        end
        local added = told(counts[index], bucket) - told(count, bucket)
        if part == 4 and added > 0 then
          held[stem] = {
            amount = added + (held[stem] and held[stem].amount or 0), window_end = window_end, key = names[index]
          }
        end
      end
    end
  end
  if quotas > 0 and quotas == quotas_over then replies[applied_at] = 0 end
  granted = granted or replies[applied_at] == 1
  if replies[applied_at] == 0 then
    -- Backwards, so that a counter with two operations gets the value it had before the first.
    for i = #undo - 1, 1, -2 do
      counts[undo[i]] = undo[i + 1]
    end
    for i = #pool_undo, 1, -1 do
      local record, name, sum, added = unpack(pool_undo[i])
      record.now[name], record.now[sum] = record.now[name] - added, record.now[sum] - added
    end
    -- What a pool is refused is its demand, which holds room for it.
    for _, each in ipairs(refused) do
      pool_add(each[1], 'r', each[1].newest, each[2], each[3])
    end
  elseif request > 0 and not repeated then
    if undoes then
      requests[request], changed[request] = nil, 'undone'
    elseif all_or_nothing then
      requests[request], changed[request] = held, 'held'
    elseif known or charged then
      requests[request], changed[request] = {[''] = {}}, 'settled'
    end
  end
end

for i = 1, #names do
  local difference = counts[i] - first[i]
  if difference ~= 0 then
    redis.call('INCRBY', names[i], string.format('%.0f', difference))
    if ends[i] then
      redis.call('EXPIRE', names[i], math.max(math.ceil((counts[i] - ends[i][1]) / ends[i][2]), 0) + 1)
    elseif not stored[i] then
      redis.call('EXPIRE', names[i], lives[i])
    end
  end
end

for index, record in pairs(records) do
  if record.dirty then
    if record.anew then redis.call('DEL', record.key) end
    for name, count in pairs(record.now) do
      local was = record.anew and 0 or record.was[name]
      if count ~= was then
        if count == 0 then
          redis.call('HDEL', record.key, name)
        else
          redis.call('HSET', record.key, name, string.format('%.0f', count))
        end
      end
    end
    redis.call('HSET', record.key, 'newest', string.format('%.0f', record.newest))
    redis.call('EXPIRE', record.key, lives[index])
  end
end

for i, state in pairs(changed) do
  redis.call('DEL', KEYS[i])
  if state == 'settled' then
    redis.call('HSET', KEYS[i], '', '')
    redis.call('EXPIRE', KEYS[i], ARGV[4])
  elseif state == 'held' then
    -- One field more, so that a request that could reserve nothing is known too.
    redis.call('HSET', KEYS[i], '-', '0 0 -')
    for stem, each in pairs(requests[i]) do
      local line = string.format('%.0f %.0f ', each.amount, each.window_end) .. each.key
      redis.call('HSET', KEYS[i], stem, line)
    end
    redis.call('EXPIRE', KEYS[i], ARGV[3])
  end
end

return replies
