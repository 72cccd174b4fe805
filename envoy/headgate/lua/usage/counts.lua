-- The counts of a usage: of the text of an object, in any of the dialects, to numbers under the names that we publish.

-- Parts of a count, on either side, that may have a price of their own.
local PARTS = { audio_tokens = true, image_tokens = true }

-- Where a run of spaces ends that begins at a place.
local function skip(text, at)
  local code = byte(text, at)
  while code == 32 or (code and code >= 9 and code <= 13) do
    at = at + 1
    code = byte(text, at)
  end
  return at, code
end

-- The text in quotes that ends at a place, but for spaces, and begins behind another.
local function name_before(text, last, from)
  while last > from and byte(text, last) <= 32 do last = last - 1 end
  if byte(text, last) ~= QUOTE then return nil end
  local first = last - 1
  while first > from and byte(text, first) ~= QUOTE do first = first - 1 end
  return sub(text, first + 1, last - 1)
end

-- The whole numbers of an object, by name; and whether any of them are parts. What follows a colon is looked at: a pattern, tried
-- at each quote, costs four times this.
local function numbers_of(object)
  local found, parts, from = {}, false, 1
  while true do
    local colon = find(object, ":", from, true)
    if not colon then return found, parts end
    local at, code = skip(object, colon + 1)
    local count, first = 0, at
    while code and code >= 48 and code <= 57 do
      count, at = math.min(count * 10 + code - 48, COUNT_MAX), at + 1
      code = byte(object, at)
    end
    if at > first then
      at, code = skip(object, at)
      local name = (code == 44 or code == 125) and name_before(object, colon - 1, from)
      if name then
        found[name] = found[name] or count
        parts = parts or (count > 0 and PARTS[name] == true)
      end
    end
    from = colon + 1
  end
end

local function sum(first, second, third)
  return first and math.min(first + (second or 0) + (third or 0), COUNT_MAX)
end

-- Of audio that was transcribed, whole seconds, where the usage counts those.
local function seconds_of(object)
  local seconds = find(object, '"seconds"', 1, true) and match(object, '"seconds"%s*:%s*(%d+%.?%d*)')
  return seconds and math.min(math.ceil(tonumber(seconds)), COUNT_MAX) or nil
end

local function set_if_any(counts, name, count)
  if count and count > 0 then counts[name] = count end
end

-- Adds the parts of OpenAI's usage.
local function add_parts(counts, object)
  for side, details in object:gmatch('"(%l+)_tokens?_details"%s*:%s*(%b{})') do
    local n, way = numbers_of(details), (side == "prompt" or side == "input") and "input_tokens" or "output_tokens"
    set_if_any(counts, "audio_" .. way, n.audio_tokens)
    set_if_any(counts, "image_" .. way, n.image_tokens)
  end
end

-- Likewise of Gemini's.
local function add_modalities(counts, object)
  for side, details in object:gmatch('"(%l+)TokensDetails"%s*:%s*(%b[])') do
    local way = side == "prompt" and "input_tokens" or side == "candidates" and "output_tokens"
    for entry in details:gmatch("%b{}") do
      local kind = match(entry, '"modality"%s*:%s*"(%u+)"')
      if way and (kind == "AUDIO" or kind == "IMAGE") then
        set_if_any(counts, kind:lower() .. "_" .. way, numbers_of(entry).tokenCount)
      end
    end
  end
end

-- Adds what is sold at prices of its own, where there is any.
local function add_apart(counts, object, n, parts)
  if n.ephemeral_1h_input_tokens then
    set_if_any(counts, "cache_creation_1h_input_tokens", n.ephemeral_1h_input_tokens)
  end
  if n.web_search_requests then set_if_any(counts, "web_searches", n.web_search_requests) end
  if parts then add_parts(counts, object) end
  if n.promptTokenCount and (find(object, "AUDIO", 1, true) or find(object, "IMAGE", 1, true)) then
    add_modalities(counts, object)
  end
end

-- The counts of OpenAI's, Anthropic's and Gemini's usage. Anthropic counts cached tokens apart, Gemini thoughts.
local function counts_of(object)
  local n, parts = numbers_of(object)
  local counts = {
    input_tokens = n.prompt_tokens or n.promptTokenCount
      or sum(n.input_tokens, n.cache_read_input_tokens, n.cache_creation_input_tokens),
    output_tokens = n.completion_tokens or n.output_tokens or sum(n.candidatesTokenCount, n.thoughtsTokenCount),
    total_tokens = n.total_tokens or n.totalTokenCount,
    cached_input_tokens = n.cached_tokens or n.cache_read_input_tokens or n.cachedContentTokenCount,
    cache_creation_input_tokens = n.cache_creation_input_tokens,
    reasoning_tokens = n.reasoning_tokens or n.thoughtsTokenCount,
    audio_seconds = seconds_of(object),
  }
  add_apart(counts, object, n, parts)
  return counts
end
