-- What is known of an answer, and publishing it: counts, the costs that they are, times, and the access log's line.
-- Sets members of `state` that another part has: asked_at, estimated, guessed, published, source, told, untold, written.

-- Of what the cluster tells: a path may be longer.
local TOLD_BYTES_MAX = 256

-- How it tells of a request of that method.
local GET = 71

-- What the request's body comes to, as reservations and charges have it: of what is told of its text, else of what was received.
local function prompt_of(told, text_bytes)
  local bytes = text_bytes or match(told or "", "%+(%d+)$")
  return bytes and math.floor(bytes / BYTES_PER_TOKEN) + 1
end

-- What has come of the first event of a stream that may be a response; nil of others.
local function opens_response(began) return began and find(began, "/responses", 1, true) and "" or nil end

-- What is known of an answer while it passes: its model, its counts, the costs that were published, the text of an
-- unfinished object, how much was written since it was last counted, and how much of that was told. Of a stream also whether it
-- is over, what it is a stream of, and the end of a piece that an event goes on after; of one that is trimmed what is held of it.
local function nothing_known(h, headers, streamed)
  local began = headers:get("x-headgate-began")
  local opening = opens_response(began)
  return { context = context_of(h), streamed = streamed, began = began, fetched = began and (byte(began) == GET or sub(began, -2) == "+0"),
    asked_at = streamed and asked_at(h, began) or nil, first_event = streamed and opening or nil, unsought = opening,
    counts = {}, done = {}, kept = "", written = 0, told = 0, over = not streamed, edge = "" }
end

-- Whether a text is JSON as it is. A loop of bytes is compiled, and costs a tenth of a pattern.
local function is_plain(text)
  for index = 1, #text do
    local code = byte(text, index)
    if code < 32 or code > 126 or code == QUOTE or code == BACKSLASH then return false end
  end
  return true
end

-- What was published as one text, members of a JSON object, from which the access log writes its line: as many values cost
-- Envoy twice this. Where something would have to be escaped, nothing is told, and Envoy writes the line from the values: in
-- the model, or in the request's id and path, of which the cluster tells so many bytes (clusters of before tell none).
local function tell(metadata, state)
  local said, source, began = "", state.source, state.began or ""
  if not source or #began >= TOLD_BYTES_MAX or not find(began, "/", 1, true) then return end
  if not is_plain(began) or not is_plain(state.said_model or "") or not is_plain(state.id or "") then return end
  for name, count in pairs(state.counts) do said = said .. ',"' .. name .. '":' .. count end
  for name, cost in pairs(state.done) do said = said .. ',"' .. name .. '":' .. cost end
  if state.said_model then said = said .. ',"response_model":"' .. state.said_model .. '"' end
  if state.ttft then said = said .. ',"token_latency_ttft":' .. state.ttft end
  if state.itl then said = said .. ',"token_latency_itl":' .. state.itl end
  if state.id then said = said .. ',"response_id":"' .. state.id .. '"' end
  if state.ended then said = said .. ',"finish_reasons":["' .. state.ended .. '"]' end
  metadata:set("headgate", "facts", said .. ',"usage_source":"' .. source .. '"')
  state.untold = nil
end

-- With a stream's first piece: publishes how long it took.
local function begin(h, state)
  state.first = h:timestamp()
  state.ttft = math.max(state.first - state.asked_at, 0)
  h:streamInfo():dynamicMetadata():set(NAMESPACE, "token_latency_ttft", state.ttft)
  state.asked_at = nil
end

-- When a stream's tokens are known: publishes how long one took, but for the first.
local function pace(h, state)
  local output = state.counts.output_tokens or 0
  if not state.first or output < 2 then return end
  state.itl, state.untold = (h:timestamp() - state.first) / (output - 1), true
  h:streamInfo():dynamicMetadata():set(NAMESPACE, "token_latency_itl", state.itl)
end

local function set(metadata, state, name, count)
  state.counts[name] = count
  state.untold = true
  metadata:set(NAMESPACE, name, count)
  for _, cost in ipairs(state.context.costs) do
    if cost[2] == name then
      metadata:set(NAMESPACE, cost[1], count)
      state.done[cost[1]] = count
    end
  end
end

local function say_model(metadata, state, model)
  state.said_model, state.untold = model, true
  metadata:set(NAMESPACE, "response_model", model)
end

-- Publishes the counts of an object that are new, and the costs that they are.
local function publish(h, state, object)
  if state.fetched then return end
  local first = not state.published
  state.published = true
  local metadata, counts, known = h:streamInfo():dynamicMetadata(), counts_of(object), state.counts
  if counts.output_tokens then state.written, state.told = 0, 0 end
  if state.estimated and counts.output_tokens then
    counts.output_tokens = math.max(counts.output_tokens, state.reported)
    known.output_tokens, known.total_tokens, state.estimated, first = nil, nil, nil, true
  end
  if state.guessed and counts.input_tokens then known.input_tokens, state.guessed = nil, nil end
  local named = not state.model_late and state.model or nil
  if first or state.guesses then
    -- What the processor has counted of an answer that broke off is more than its client is told; and it knows which model
    -- answered where the client is told another. What it guessed until its provider told is no more.
    local published = state.context.processed and metadata:get(NAMESPACE) or {}
    local estimated = published.usage_source == "estimated"
    state.counted = published.lane == "extproc"
    if state.guesses and not estimated then
      known.input_tokens, known.output_tokens, known.total_tokens = published.input_tokens, published.output_tokens, published.total_tokens
    end
    for name in pairs(state.counted and counts or {}) do known[name] = published[name] end
    state.guesses = state.counted and estimated
    if state.counted then named = published.response_model or named end
    if first and not state.guesses then
      state.source = "reported"
      metadata:set(NAMESPACE, "usage_source", "reported")
      if state.stored then metadata:set("headgate", "fetched", state.stored) end
    end
  end
  if first and named then say_model(metadata, state, named) end
  for name, count in pairs(counts) do
    if count >= (known[name] or -1) then set(metadata, state, name, count) end
  end
  local total = not counts.total_tokens and sum(known.input_tokens, known.output_tokens)
  if total and total > (known.total_tokens or -1) then set(metadata, state, "total_tokens", total) end
  if counts.output_tokens then pace(h, state) end
  -- of a stream there is more to come
  if state.context.tells and not state.streamed then tell(metadata, state) end
end

-- At the end of an answer that has usage: publishes the costs that are none of its counts.
local function settle(h, state)
  local costs = state.context.costs
  if #costs == 0 then return end
  local metadata = h:streamInfo():dynamicMetadata()
  local published, estimated = state.counts, state.estimated
  if state.context.processed then
    -- a processor may have counted what the client's dialect cannot say
    published = metadata:get(NAMESPACE) or {}
    estimated = published.usage_source == "estimated"
  end
  if not state.published and not estimated then return end
  for _, cost in ipairs(costs) do
    -- of a prompt that nobody counted the cost is known to the charge alone
    local unknown = estimated and not published[cost[2]]
    -- what the processor guessed until its provider told is put right
    local guessed = state.counted and published[cost[2]] and published[cost[2]] ~= state.done[cost[1]]
    if guessed or (not state.done[cost[1]] and not unknown) then
      state.done[cost[1]], state.untold = published[cost[2]] or 0, true
      metadata:set(NAMESPACE, cost[1], state.done[cost[1]])
    end
  end
end
