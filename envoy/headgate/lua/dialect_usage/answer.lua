-- Reads the usage of an answer as it passes, in dialects that Envoy's own extraction does not know: AWS's Converse (JSON and
-- event streams) and Cohere's chat (JSON and server-sent events). The bytes pass as they are.
--
-- filter_context: told, the text of a table: costs = list of {cost's metadata key, name of the count that it is}, for costs that are
-- plain counts; what is computed is computed at the end of the answer (costs.lua).
--
-- Until usage comes, or if it never does, a quarter of the text's bytes are its tokens, marked as estimated (usage.lua).
--
-- Of a stream the time to its first piece is published with that, and when it ends the time between two tokens.
--
-- chats = {{word, event, word}}: a stream with the first word and not the last is cut, and ended by the event (usage.lua).
--
-- processed: true where the processor may serve an attempt: it publishes what it has counted, which is more, and names its answer.
--
-- Where requests are traced: names, of usage.lua's: id (absent where an answer has none), reason, behind, words.
--
-- The last member "usage" with counts counts: text and the arguments of calls have their quotes escaped, or come before it.
-- What is kept of what has passed is an unfinished usage, at most HELD_BYTES_MAX of it, or the start of its name.

local HELD_BYTES_MAX = 4096
local NAME = '"usage"'
local NEWS_BYTES = 256
-- No word that begins or ends a stream is longer.
local COMMENT = "^:[^\r\n]*[\r\n]*$"
local EDGE_BYTES = 24
-- Where a class of paths is more than chats: what turns out to be one is counted by this. A whole answer is one that says why it ended.
local TEXT = { '"text":', '"thinking":', '"tool_plan":', '"arguments":' }
local ENDED = '"finish_reason"'

-- By the first byte of an answer: it is an object, an event, a comment or a frame, and so came as it is.
local PLAIN = { [123] = true, [100] = true, [101] = true, [58] = true, [0] = true }

-- Of what a chat calls itself, and why it ended: half of it may have come.
local NAME_BYTES, BEHIND_BYTES = 128, 40

local function read_context(said)
  said.names = names_of(said.names)
  return said
end

local function context_of(h) return remembered(h, read_context) end

local function number(object, name)
  return tonumber(object:match('"' .. name .. '"%s*:%s*(%d+)')) or 0
end

-- The members of an object that are no objects or lists themselves.
local function plain(object)
  return (object:sub(2, -2):gsub("%b[]", ""):gsub("%b{}", ""))
end

-- Of what Converse wrote to a cache, what it keeps for an hour.
local function kept_long(usage)
  local details, total = usage:match('"cacheDetails"%s*:%s*(%b[])'), 0
  for detail in (details or ""):gmatch("%b{}") do
    if detail:find('"ttl"%s*:%s*"1h"') then total = total + number(detail, "inputTokens") end
  end
  return total > 0 and total or nil
end

-- Counts by name; nothing where the object has none. Input includes what was read from a cache or written to it.
local function counted(usage)
  local own = plain(usage)
  if own:find('"inputTokens"', 1, true) then
    local cached, created = number(own, "cacheReadInputTokens"), number(own, "cacheWriteInputTokens")
    return number(own, "inputTokens") + cached + created, number(own, "outputTokens"), cached, created, kept_long(usage)
  end
  local said = usage:match('"tokens"%s*:%s*(%b{})') or usage:match('"billed_units"%s*:%s*(%b{})')
  if said then
    return number(said, "input_tokens"), number(said, "output_tokens"), number(own, "cached_tokens"), 0
  end
end

-- What the processor has published of an answer that it serves; nil of others. It counts what the client's dialect cannot say.
local function processed(h)
  local published = context_of(h).processed and h:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
  return published.lane == "extproc" and published or nil
end

local function publish_costs(h, counts)
  local metadata = h:streamInfo():dynamicMetadata()
  for _, cost in ipairs(context_of(h).costs or {}) do
    metadata:set(NAMESPACE, cost[1], math.min(counts[cost[2]] or 0, COUNT_MAX))
  end
end

local function publish(h, usage)
  local input, output, cached, created, long = counted(usage)
  if not input then return false end
  local known = processed(h)
  if known and known.input_tokens then
    publish_costs(h, known)
    return true
  end
  local counts = {
    input_tokens = input,
    output_tokens = output,
    total_tokens = input + output,
    cached_input_tokens = cached,
    cache_creation_input_tokens = created,
    cache_creation_1h_input_tokens = long,
    reasoning_tokens = 0,
  }
  local metadata = h:streamInfo():dynamicMetadata()
  for name, count in pairs(counts) do metadata:set(NAMESPACE, name, math.min(count, COUNT_MAX)) end
  metadata:set(NAMESPACE, "usage_source", "reported")
  publish_costs(h, counts)
  return true
end

-- Publishes every whole usage of the text; gives what a later chunk may complete, and whether there was one.
local function read(h, text)
  local position, found = 1, false
  while true do
    local from, to = text:find(NAME, position, true)
    if not from then return text:sub(-#NAME + 1), found end
    local rest = text:sub(to + 1, to + HELD_BYTES_MAX)
    local open = rest:match("^%s*:%s*(){")
    local object = open and object_at(rest, open)
    if object then
      found = publish(h, object) or found
      position = to + open + #object
    elseif to + #rest == #text and (rest:find("^%s*$") or rest:find("^%s*:%s*$") or rest:find("^%s*:%s*{")) then
      return text:sub(from), found
    else
      -- no byte is looked at twice: an object that is too long is not looked through for others
      position = to + (open and open + HELD_BYTES_MAX or 1)
    end
  end
end

-- Bytes of what a model writes in a piece of an answer: behind any of the words, which end with {} before an object.
local function written_in(text, starts)
  local total = 0
  for _, start in ipairs(starts) do
    local member = start:match("^(.*){}$")
    local at = 1
    while true do
      local _, last = text:find(member or start, at, true)
      if not last then break end
      at = text:match(member and "^%s*{()" or '^%s*"()', last + 1)
      if at then
        local ended = member and (text:match("^%b{}()", at - 1) or #text + 2) - 1 or text_end(text, at)
        total, at = total + ended - at, ended
      else
        at = last + 1
      end
    end
  end
  return total
end

-- Whether a word is in the text, or across its border to what came before it.
local function holds(word, before, text)
  return text:find(word, 1, true) ~= nil or (before .. text:sub(1, EDGE_BYTES)):find(word, 1, true) ~= nil
end

-- What a request's body comes to of which so many bytes were received.
local function prompt_of(h, bytes)
  local request = h:streamInfo():dynamicMetadata():get("headgate") or {}
  return math.floor((request.text_bytes or bytes) / BYTES_PER_TOKEN) + 1
end

local function estimate(h, written, prompt)
  local known = processed(h)
  if known then
    if known.input_tokens then publish_costs(h, known) end
    return
  end
  local metadata, output = h:streamInfo():dynamicMetadata(), math.ceil(written / BYTES_PER_TOKEN)
  local counts = { output_tokens = output, input_tokens = prompt, total_tokens = prompt and prompt + output }
  metadata:set(NAMESPACE, "usage_source", "estimated")
  for name, count in pairs(counts) do metadata:set(NAMESPACE, name, count) end
  for _, cost in ipairs(context_of(h).costs or {}) do
    if counts[cost[2]] then metadata:set(NAMESPACE, cost[1], counts[cost[2]]) end
  end
end

-- At the end of a stream: publishes how long a token took, but for the first.
local function pace(h, first)
  local metadata = h:streamInfo():dynamicMetadata()
  local output = (metadata:get(NAMESPACE) or {}).output_tokens or 0
  if output < 2 then return end
  metadata:set(NAMESPACE, "token_latency_itl", (h:timestamp() - first) / (output - 1))
end

-- Why a chat ended, as telemetry calls it; nothing where the text does not say.
local function reason_in(names, text)
  local from = 1
  while true do
    local first, last = text:find(names.reason, from, true)
    if not first then return nil end
    local word = text:match('^%s*:%s*"([%a_]+)"', last + 1)
    if word and text:sub(math.max(first - BEHIND_BYTES, 1), first - 1):find(names.behind[1]) then return names.words[word] or "stop" end
    from = last + 1
  end
end

-- Publishes what a chat calls itself, and why it ended; `known` is what was found, and what a later chunk may complete.
local function name(h, context, known, chunk)
  local metadata, names = h:streamInfo():dynamicMetadata(), context.names
  if not known.rest then
    local published = context.processed and metadata:get(NAMESPACE) or {}
    known.rest, known.foreign = "", published.lane == "extproc"
  end
  if known.foreign then return end
  local text = known.rest .. chunk
  local at = names.id and not known.id and text:find(names.id, 1, true)
  if at then known.id = text:match('^"%a+"%s*:%s*"([^"\\%c]+)"', at) end
  if not known.reason then
    known.reason = reason_in(names, text)
    -- what does not say why it ended is no chat
    if known.reason then metadata:set(NAMESPACE, "finish_reasons", { known.reason }) end
    if known.reason and known.id then metadata:set(NAMESPACE, "response_id", known.id) end
  end
  known.rest = text:sub(-NAME_BYTES)
end

function envoy_on_response(h)
  local headers = h:headers()
  if headers:get(":status") ~= "200" then return end
  local held, reported, written, told = "", false, 0, 0
  local began, kind = headers:get("x-headgate-began") or "", headers:get("content-type") or ""
  local streamed = kind:lower():find("stream", 1, true) ~= nil
  local asked, first = streamed and asked_at(h, began), nil
  local bytes, prompt = began:match("%+(%d+)$"), nil
  local context = context_of(h)
  local starts = context.text
  local chats = streamed and context.chats
  local begins, cut, ends = unpack(chats and chats[1] or {})
  local begun, said, edge = false, false, ""
  local several = not starts and context.chats ~= nil and not chats
  local known, readable = {}, nil
  for chunk in h:bodyChunks() do
    local size = chunk:length()
    if size > 0 then
      local text, found = chunk:getBytes(0, size), false
      if readable == nil then readable = is_readable(h, PLAIN, byte(text, 1)) end
      if context.names and readable then name(h, context, known, text) end
      if asked and not first then
        first = h:timestamp()
        h:streamInfo():dynamicMetadata():set(NAMESPACE, "token_latency_ttft", math.max(first - asked, 0))
      end
      if not readable then
        begun, ends = begun or starts ~= nil or chats ~= nil or (began:match("^.* ([^ ?]*)[^ ]*%+%d+$") or ""):sub(-5) == "/chat", nil
        if begun then written = written + size end
      else
        begun = begun or (begins and holds(begins, edge, text)) or (several and holds(ENDED, edge, text))
        said = said or not text:find(COMMENT)
        if starts or begun or several then written = written + written_in(text, starts or TEXT) end
        if begun and ends and holds(ends, edge, text) then ends = nil end
        edge = (#text < EDGE_BYTES and edge .. text or text):sub(-EDGE_BYTES)
        held, found = read(h, held .. text)
        reported = reported or found
        if #held > HELD_BYTES_MAX then held = "" end
      end
      if not reported and (begun or not several) and written - told >= (chats and told == 0 and 1 or NEWS_BYTES) then
        prompt = prompt or bytes and prompt_of(h, bytes)
        estimate(h, written, prompt)
        told = written
      end
    elseif ends and (begun or not said) then
      local published = h:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
      if published.lane ~= "extproc" then chunk:setBytes(cut) end
    end
  end
  if not reported and (begun or not several) and written > told then estimate(h, written, prompt or bytes and prompt_of(h, bytes)) end
  if first then pace(h, first) end
end
