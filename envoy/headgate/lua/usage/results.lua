-- Adds up what the requests of a batch used, where the batch itself does not tell: in the file of its results, which has a line of
-- JSON for each (Anthropic's). The collector alone is told, when all of it has passed.

local RESULTS = "/messages/batches/+([^/]+)/+results$"

-- The id of the batch whose results these are, all of them and as text; nil of other answers.
local function batch_of_results(headers)
  local began = headers:get("x-headgate-began")
  if not began or not find(began, "/results", 1, true) then return nil end
  if headers:get(":status") ~= "200" or headers:get("content-encoding") then return nil end
  return match(path_of(began), RESULTS)
end

-- Notes what a line, or its end, tells: the last is right, for what a model has written comes before it.
local function note(line, text)
  local at = 1
  while true do
    local _, last = find(text, '"usage"', at, true)
    if not last then break end
    local open = match(text, "^%s*:%s*(){", last + 1)
    local object = open and object_at(text, open)
    local counts = object and counts_of(object)
    if counts and next(counts) then line.counts = counts end
    at = open and open + (object and #object or USAGE_BYTES_MAX) or last + 1
  end
  local named = not line.model and find(text, '"model"', 1, true)
  line.model = named and match(text, '^"model"%s*:%s*"([^"\\%c]+)"', named) or line.model
end

-- Adds a line that is over. What several models served has no name.
local function add(sums, line)
  if not next(line.counts) then return end
  for name, count in pairs(line.counts) do sums[name] = (sums[name] or 0) + count end
  if sums.model == nil then sums.model = line.model or "" end
  if sums.model ~= line.model then sums.model = "" end
end

local function read_results(h, id)
  local sums, line, kept = {}, { counts = {} }, ""
  for chunk in h:bodyChunks() do
    local size, at = chunk:length(), 1
    local text = size > 0 and kept .. chunk:getBytes(0, size) or kept
    while true do
      local ended = find(text, "\n", at, true)
      if not ended then break end
      note(line, sub(text, at, ended))
      add(sums, line)
      line, at = { counts = {} }, ended + 1
    end
    text = sub(text, at)
    note(line, text)
    kept = text:sub(-USAGE_BYTES_MAX)
  end
  add(sums, line)
  if not sums.model then return end
  local said = '{"object":"batch","status":"completed","model":"%s","usage":{"input_tokens":%.0f,"output_tokens":%.0f,'
    .. '"total_tokens":%.0f,"input_tokens_details":{"cached_tokens":%.0f,"cache_creation_tokens":%.0f}}}'
  local input, output = sums.input_tokens or 0, sums.output_tokens or 0
  local metadata = h:streamInfo():dynamicMetadata()
  metadata:set("headgate", "fetched", id)
  metadata:set("headgate", "batch", said:format(sums.model, input, output, input + output, sums.cached_input_tokens or 0,
    sums.cache_creation_input_tokens or 0))
end
