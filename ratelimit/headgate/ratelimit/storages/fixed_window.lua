-- Runs a batch of rate limit transactions, each all or nothing, in their order. The rules are those of
-- headgate/limits/engine.py and the arithmetic is that of headgate/limits/algorithms/fixed_window.py.
--
-- KEYS: every counter of the batch once.
-- ARGV: first the seconds each counter lives if it is new, in the order of KEYS; then per transaction
--   1 for all or nothing, else 0; the number of operations; and for each operation
--   the index of its counter in KEYS, its hits, its limit, and 1 if being over refuses, else 0.
-- Returns per transaction: 1 if it was applied, else 0; and per operation the counter it was examined against.
--
-- The counters are read with one MGET and written once each, whatever the number of transactions that share them.
-- Lua's numbers are doubles: counts stay at most 2^53, and limits and hits at most 2^52 (limits/units.py).

local keys = #KEYS
local stored = redis.call('MGET', unpack(KEYS))
local counts = {}
for i = 1, keys do
  counts[i] = tonumber(stored[i] or 0) or error('not a counter: ' .. KEYS[i])
end
local first = {unpack(counts)}

local replies = {}
local position = keys + 1
local arguments = #ARGV
while position <= arguments do
  local all_or_nothing = ARGV[position] == '1'
  local ops = tonumber(ARGV[position + 1])
  position = position + 2
  local applied_at = #replies + 1
  replies[applied_at] = 1
  local undo = {}
  for _ = 1, ops do
    local index = tonumber(ARGV[position])
    local hits = tonumber(ARGV[position + 1])
    local limit = tonumber(ARGV[position + 2])
    local before = counts[index]
    replies[#replies + 1] = before
    if all_or_nothing and ARGV[position + 3] == '1' then
      if (hits == 0 and before >= limit) or (hits > 0 and before + hits > limit) then
        replies[applied_at] = 0
      end
    end
    if hits ~= 0 then
      undo[#undo + 1] = index
      undo[#undo + 1] = before
      counts[index] = math.min(math.max(before + hits, 0), 9007199254740992)
    end
    position = position + 4
  end
  if replies[applied_at] == 0 then
    -- Backwards, so that a counter with two operations gets the value it had before the first.
    for i = #undo - 1, 1, -2 do
      counts[undo[i]] = undo[i + 1]
    end
  end
end

for i = 1, keys do
  local difference = counts[i] - first[i]
  if difference ~= 0 then
    redis.call('INCRBY', KEYS[i], string.format('%.0f', difference))
    if not stored[i] then
      redis.call('EXPIRE', KEYS[i], ARGV[i])
    end
  end
end

return replies
