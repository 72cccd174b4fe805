-- Reads the usage of an answer as it passes, in every dialect; and answers 502 for a web page where a model's answer was to be.
--
-- filter_context: costs  list of {cost's metadata key, name of the count that it is}, for costs that are plain counts; what
--                        is computed is computed at the end of the answer (costs.lua)
--                 hides  true where the gateway forced stream_options.include_usage: the chunk that it brought is kept from
--                        a client that did not ask for it
--                 page   the JSON that answers for a web page, in the client's dialect
--                 text   list of patterns that stand before an answer's text, its quote included; absent where an answer has none
--                 chats  list of {word, event, words…}: a stream that holds the first word is a chat, and whole if it holds one of
--                        the others; else the event ends it, in the client's dialect. What a model writes can hide a cut, no more
--
-- Usage is published at once: OpenAI's clients hang up at "[DONE]", and what is only known when the provider's answer ends
-- would then be lost, and the request free. An answer passes as it came, but for that chunk: there complete events pass at
-- once, and an unfinished event waits for its end, at most HELD_BYTES_MAX of it.
--
-- What has been written since a provider last said how much, if it ever did, is counted: a quarter of its bytes, marked as
-- estimated. It is published as the answer goes on, for a client that leaves, or a provider that breaks off, ends no answer. The
-- prompt is not seen here: its cluster says in a header how many bytes the request has, a quarter of which is its tokens.
--
-- Of a stream the time to its first piece is published with that, and when it ends the time between two tokens.
--
-- A stream that its provider ends before its end is ended by an error, so that no client takes it for an answer. What is dropped
-- with its connection is reset to the client: there is no place for an event then.
--
-- Rule: of several counts of an answer the largest is right. Streams count up; and what a model or a client wrote into an
-- answer (a tool's input, a schema) may look like usage, but can then not make an answer cheaper.

local HELD_BYTES_MAX = 1048576
local DONE_BYTES_MAX = 64
-- An object "usage" with its details has some hundred bytes; a longer one is something else.
local USAGE_BYTES_MAX = 8192
-- Of one answer. A provider's nonsense must not make a charge that Envoy cannot send, and so nothing of it.
local COUNT_MAX = 2147483647
local BYTES_PER_TOKEN = 4
-- So much is written before an estimate is published again.
local NEWS_BYTES = 256
-- No word that begins or ends a stream is longer.
local EDGE_BYTES = 24

-- The moment at which the attempt was asked, in milliseconds; the cluster has written it into the answer's headers.
local function asked_at(told)
  local began, after = (told or ""):match("^(%d+)%+(%d+)%+")
  return began and began + after
end

-- What the request's body comes to, as reservations and charges have it.
local function prompt_of(told)
  local bytes = (told or ""):match("%+(%d+)$")
  return bytes and math.floor(bytes / BYTES_PER_TOKEN) + 1
end

-- The whole numbers of an object, by name.
local function numbers_of(object)
  local found = {}
  for name, digits in object:gmatch('"([%a_]+)"%s*:%s*(%d+)%s*[,}]') do
    found[name] = found[name] or math.min(tonumber(digits), COUNT_MAX)
  end
  return found
end

local function sum(first, second, third)
  return first and math.min(first + (second or 0) + (third or 0), COUNT_MAX)
end

-- The counts of OpenAI's, Anthropic's and Gemini's usage. Anthropic counts cached tokens apart, Gemini thoughts.
local function counts_of(object)
  local n = numbers_of(object)
  return {
    input_tokens = n.prompt_tokens or n.promptTokenCount
      or sum(n.input_tokens, n.cache_read_input_tokens, n.cache_creation_input_tokens),
    output_tokens = n.completion_tokens or n.output_tokens or sum(n.candidatesTokenCount, n.thoughtsTokenCount),
    total_tokens = n.total_tokens or n.totalTokenCount,
    cached_input_tokens = n.cached_tokens or n.cache_read_input_tokens or n.cachedContentTokenCount,
    cache_creation_input_tokens = n.cache_creation_input_tokens,
    reasoning_tokens = n.reasoning_tokens or n.thoughtsTokenCount,
  }
end

-- What is known of an answer while it passes: its model, its counts, the costs that were published, the text of an
-- unfinished object, how much was written since it was last counted, and how much of that was told.
local function nothing_known(whole)
  return { whole = whole, counts = {}, done = {}, costs = nil, kept = "", model = nil, text = nil, written = 0, told = 0,
    edge = "", over = false }
end

-- With a stream's first piece: publishes how long it took.
local function begin(h, state)
  if not state.asked_at then return end
  state.first = h:timestamp()
  h:streamInfo():dynamicMetadata():set("io.envoy.ai_gateway", "token_latency_ttft", math.max(state.first - state.asked_at, 0))
  state.asked_at = nil
end

-- When a stream's tokens are known: publishes how long one took, but for the first.
local function pace(h, state)
  local output = state.counts.output_tokens or 0
  if not state.first or output < 2 then return end
  local each = (h:timestamp() - state.first) / (output - 1)
  h:streamInfo():dynamicMetadata():set("io.envoy.ai_gateway", "token_latency_itl", each)
end

local function set(metadata, state, name, count)
  state.counts[name] = count
  metadata:set("io.envoy.ai_gateway", name, count)
  for _, cost in ipairs(state.costs) do
    if cost[2] == name then
      metadata:set("io.envoy.ai_gateway", cost[1], count)
      state.done[cost[1]] = true
    end
  end
end

-- Publishes the counts of an object that are new, and the costs that they are.
local function publish(h, state, object)
  local first = state.costs == nil
  state.costs = state.costs or h:filterContext():get("costs") or {}
  local metadata, counts, known = h:streamInfo():dynamicMetadata(), counts_of(object), state.counts
  if counts.output_tokens then state.written, state.told = 0, 0 end
  if state.estimated and counts.output_tokens then
    counts.output_tokens = math.max(counts.output_tokens, state.reported)
    known.output_tokens, known.total_tokens, state.estimated, first = nil, nil, nil, true
  end
  if first then
    -- What the processor has counted of an answer that broke off is more than its client is told.
    local published = metadata:get("io.envoy.ai_gateway") or {}
    local processed = published.lane == "extproc"
    for name in pairs(processed and counts or {}) do known[name] = published[name] end
    if not (processed and published.usage_source == "estimated") then metadata:set("io.envoy.ai_gateway", "usage_source", "reported") end
  end
  if first and state.model then metadata:set("io.envoy.ai_gateway", "response_model", state.model) end
  for name, count in pairs(counts) do
    if count >= (known[name] or -1) then set(metadata, state, name, count) end
  end
  local total = not counts.total_tokens and sum(known.input_tokens, known.output_tokens)
  if total and total > (known.total_tokens or -1) then set(metadata, state, "total_tokens", total) end
  if counts.output_tokens then pace(h, state) end
end

-- Publishes what was written, where nobody counted it. Only of models' answers: a file may read like one; and not where the
-- processor counts, which knows more.
local function estimate(h, state)
  local metadata, known = h:streamInfo():dynamicMetadata(), state.counts
  state.told = state.written
  state.costs = state.costs or h:filterContext():get("costs") or {}
  if state.asked == nil then
    local request, published = metadata:get("headgate"), metadata:get("io.envoy.ai_gateway") or {}
    state.asked = request ~= nil and request.model ~= nil and published.lane ~= "extproc"
    state.prompt = published.prompt_tokens
  end
  if not state.asked then return end
  if not state.estimated then
    state.reported, state.estimated = known.output_tokens or 0, true
    -- counted before admission, where the route asks for it
    local prompt = state.prompt or prompt_of(state.began)
    if prompt and not known.input_tokens then set(metadata, state, "input_tokens", prompt) end
  end
  metadata:set("io.envoy.ai_gateway", "usage_source", "estimated")
  set(metadata, state, "output_tokens", state.reported + math.ceil(state.written / BYTES_PER_TOKEN))
  if known.input_tokens then set(metadata, state, "total_tokens", known.input_tokens + known.output_tokens) end
end

-- Counts the text of a piece that was read: what follows the usage in it, for that counts what came before. A quote inside
-- of it ends it here: an estimate need not look further.
local function count(h, state, text)
  -- the usage of a whole answer counts all of it
  if state.whole and state.counts.output_tokens and not state.estimated then return end
  if state.text == nil then state.text = h:filterContext():get("text") or false end
  if not state.text then return end
  if state.rest then text = text:sub(-state.rest) end
  for _, before in ipairs(state.text) do
    local at = 1
    while true do
      local _, opened = text:find(before, at)
      if not opened then break end
      local closed = text:find('"', opened + 1, true) or #text + 1
      state.written = state.written + closed - opened - 1
      at = closed + 1
    end
  end
  if state.written - state.told >= NEWS_BYTES then estimate(h, state) end
end

local function holds(word, text, border) return text:find(word, 1, true) or border:find(word, 1, true) end

-- Looks for the end in a piece of a stream, and first for what it is a stream of; also across the border to the piece before.
local function watch(h, state, text)
  state.chats = state.chats or h:filterContext():get("chats") or {}
  local border = state.edge .. text:sub(1, EDGE_BYTES)
  state.edge = #text < EDGE_BYTES and border:sub(-EDGE_BYTES) or text:sub(-EDGE_BYTES)
  if not state.chat then
    for _, chat in ipairs(state.chats) do
      if holds(chat[1], text, border) then state.chat = chat end
    end
    if not state.chat then return end
  end
  for place = 3, #state.chat do
    if holds(state.chat[place], text, border) then state.over = true end
  end
end

-- At the last chunk, which is empty: ends a stream that holds no end. Where the processor translates, it has said so itself.
local function close(h, state, chunk)
  if state.over or not state.chat then return end
  local published = h:streamInfo():dynamicMetadata():get("io.envoy.ai_gateway") or {}
  if published.lane ~= "extproc" then chunk:setBytes(state.chat[2]) end
end

-- At the end of an answer that has usage: publishes the costs that are none of its counts.
local function finish(h, state)
  if state.written > state.told then estimate(h, state) end
  if state.estimated then pace(h, state) end
  local costs = state.costs or h:filterContext():get("costs")
  if not costs or #costs == 0 then return end
  local metadata = h:streamInfo():dynamicMetadata()
  -- a processor may have counted what the client's dialect cannot say
  local published = metadata:get("io.envoy.ai_gateway") or {}
  local estimated = published.usage_source == "estimated"
  if not state.costs and not estimated then return end
  for _, cost in ipairs(costs) do
    -- of a prompt that nobody counted the cost is known to the charge alone
    local unknown = estimated and not published[cost[2]]
    if not state.done[cost[1]] and not unknown then metadata:set("io.envoy.ai_gateway", cost[1], published[cost[2]] or 0) end
  end
end

-- Reads on in an answer's text.
local function read(h, state, text)
  text, state.rest = state.kept .. text, nil
  local named = not state.model and text:find('"model', 1, true)
  if named then state.model = text:match('^"model%a*"%s*:%s*"([^"\\]+)"', named) end
  local at = 1
  while true do
    local first = text:find('"usage', at, true)
    if not first then
      state.kept = text:sub(math.max(at, #text - 5))
      return
    end
    local object = text:match('^"usage%a*"%s*:%s*(%b{})', first)
    if object then
      publish(h, state, object)
      state.rest = #text - first
    elseif #text - first < USAGE_BYTES_MAX
      and (text:find('^"usage%a*"?%s*:?%s*$', first) or text:find('^"usage%a*"%s*:%s*{', first)) then
      state.kept = text:sub(first)
      return
    end
    at = first + 6
  end
end

-- What may pass of the complete events in the text, and the unfinished rest.
local function split(h, state, text, asked)
  local out, position = {}, 1
  while true do
    local _, last = text:find("\r?\n\r?\n", position)
    if not last then break end
    local event = text:sub(position, last)
    local usage = event:find('"usage"%s*:%s*{')
    if usage then read(h, state, event) end
    if asked or not usage or not event:find('"choices"%s*:%s*%[%s*%]') then out[#out + 1] = event end
    position = last + 1
  end
  return table.concat(out), text:sub(position)
end

-- Reads a stream of OpenAI's chats and takes the forced chunk out of it.
local function trim(h, state, asked)
  local held, held_bytes, tail = {}, 0, ""
  for chunk in h:bodyChunks() do
    local size = chunk:length()
    local text = size > 0 and chunk:getBytes(0, size) or ""
    if size > 0 then begin(h, state) end
    if not state.over and size > 0 then watch(h, state, text) end
    if size == 0 then
      -- half an event that is held goes with what cut it off
      close(h, state, chunk)
    elseif held_bytes == 0 and text:sub(-2) == "\n\n" and not text:find('"usage"%s*:%s*{') then
      -- whole events without usage: the bytes pass as they are
    elseif held_bytes + size > HELD_BYTES_MAX then
      chunk:setBytes(table.concat(held) .. text)
      held, held_bytes, tail = {}, 0, ""
    elseif held_bytes + size < DONE_BYTES_MAX and (table.concat(held) .. text):find("^data: ?%[DONE%]%s*$") then
      -- the end, which not every provider ends with an empty line
      chunk:setBytes(table.concat(held) .. text)
      held, held_bytes, tail = {}, 0, ""
    elseif not (tail .. text):find("\n\r?\n") then
      held[#held + 1] = text
      held_bytes, tail = held_bytes + size, (tail .. text):sub(-3)
      chunk:setBytes("")
    else
      held[#held + 1] = text
      local pass, rest = split(h, state, table.concat(held), asked)
      if rest:find("^data: ?%[DONE%]%s*$") then pass, rest = pass .. rest, "" end
      held, held_bytes, tail = { rest }, #rest, rest:sub(-3)
      chunk:setBytes(pass)
    end
    -- usage that came with this chunk counts all of it
    if not state.rest then count(h, state, text) end
    state.rest = nil
  end
  -- a provider that ends without an empty line is paid for all the same
  read(h, state, table.concat(held))
end

-- Answers 502 for a page, such as a wrong address or a proxy in between brings. Only where the request named a model: a file
-- may be a page. Some providers call their JSON or their streams a page.
local function refuse_page(h, kind)
  if not (kind:find("html", 1, true) or kind:find("xml", 1, true)) then return end
  local request, page = h:streamInfo():dynamicMetadata():get("headgate"), h:filterContext():get("page")
  if not page or not request or request.model == nil then return end
  local body = h:body()
  local start = body and body:getBytes(0, math.min(body:length(), DONE_BYTES_MAX)):match("^%s*(.*)")
  if not start or start:find("^[%[{]") or start:find("^%l+:") then return end
  local headers = h:headers()
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(body:setBytes(page)))
end

function envoy_on_response(h)
  local headers = h:headers()
  local kind = headers:get("content-type")
  kind = kind and kind:lower()
  if headers:get(":status"):sub(1, 1) ~= "2" then return end
  local streamed, request = kind ~= nil and kind:find("text/event-stream", 1, true) ~= nil, nil
  if kind == nil then
    -- an answer that does not say what it is is what was asked for
    request = h:streamInfo():dynamicMetadata():get("headgate")
    streamed = request ~= nil and request.stream == true
  elseif not streamed and not kind:find("[/+]json%f[^%w]") then
    return refuse_page(h, kind)
  end
  local state = nothing_known(not streamed)
  state.began = headers:get("x-headgate-began")
  if streamed then state.asked_at = asked_at(state.began) end
  if streamed and h:filterContext():get("hides") then
    request = request or h:streamInfo():dynamicMetadata():get("headgate")
    headers:remove("content-length")
    trim(h, state, request ~= nil and request.include_usage == true)
  else
    for chunk in h:bodyChunks() do
      local size = chunk:length()
      if size > 0 then
        local text = chunk:getBytes(0, size)
        begin(h, state)
        read(h, state, text)
        count(h, state, text)
        if streamed and not state.over then watch(h, state, text) end
      else
        close(h, state, chunk)
      end
    end
  end
  finish(h, state)
end
