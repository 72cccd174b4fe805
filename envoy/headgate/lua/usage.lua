-- Reads the usage of an answer as it passes, in every dialect; and answers 502 for a web page where a model's answer was to be.
--
-- filter_context: told, the text of a table:
--                 costs  list of {cost's metadata key, name of the count that it is}, for costs that are plain counts; what
--                        is computed is computed at the end of the answer (costs.lua)
--                 hides  true where the gateway forced stream_options.include_usage: the chunk that it brought is kept from
--                        a client that did not ask for it
--                 tells  true where the access log's line is written from what is published here, see `tell`
--                 names  where requests are traced: what a chat calls itself and why it ended are published as well. A table of
--                        id, the member that has its name; reason, how the member ends that says why, and behind, list of patterns
--                        one of which is before that; words, list of {why as its dialect says, as telemetry does}; called, list of
--                        words one of which makes "stop" a call; done, where a reason says only why it broke off: {the word that
--                        says of a stream that it did not, of a whole answer}
--                 processed  true where the processor may serve an attempt: it publishes what it has counted, which is more
--                 page   the JSON that answers for a web page, in the client's dialect
--                 text   list of what stands before what a model writes, but for spaces and its quote, or before {} where that is an
--                        object; absent where an answer has no text
--                 texts  the same for each of `chats`, where they differ
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
-- So is an answer that came compressed, which nobody asked for: it passes as it came, and counts as a text of its size.
--
-- Of a stream the time to its first piece is published with that, and when it ends the time between two tokens.
--
-- A stream that its provider ends before its end, or before anything but a comment, is ended by an error, so that no client takes
-- it for an answer. What is dropped with its connection is reset to the client: there is no place for an event then.
--
-- What is fetched (a stored answer, a batch) was counted when it was asked for: an answer to a request without a body, as its cluster
-- says in that header, counts only where it was made in the background, whose first answer tells no usage.
--
-- Rule: of several counts of an answer the largest is right. Streams count up; and what a model or a client wrote into an
-- answer (a tool's input, a schema) may look like usage, but can then not make an answer cheaper.
--
-- Costs: see upstream.lua. A piece of a stream is looked at in place where it ends an event and began with one, as nearly all do:
-- nothing is joined or kept then. Words are looked for without a quote before them: pieces are full of quotes.

local HELD_BYTES_MAX = 1048576
local DONE_BYTES_MAX = 64
-- An object "usage" with its details has some hundred bytes; a longer one is something else.
local USAGE_BYTES_MAX = 8192
-- Of one answer. A provider's nonsense must not make a charge that Envoy cannot send, and so nothing of it.
local COUNT_MAX = 2147483647
local BYTES_PER_TOKEN = 4
-- No longer is what says that an answer was made in the background, but for spaces.
local BACKGROUND, BACKGROUND_BYTES = '"background"%s*:%s*true', 24
-- The id of a response, in the path that its cluster tells, without what follows it there.
local RESPONSE = " %S*/responses/([^/?%s]+)"
-- So much is written before an estimate is published again; the first words of a stream are, as its client may leave.
local NEWS_BYTES = 256
-- No word that begins or ends a stream is longer.
local EDGE_BYTES = 24
local CONTEXTS_MAX = 4096
local NAMESPACE = "io.envoy.ai_gateway"
local QUOTE, NEWLINE, RETURN, BACKSLASH, BRACE = 34, 10, 13, 92, 123
-- Of what the cluster tells: a path may be longer.
local TOLD_BYTES_MAX = 256
-- Of choices, and of the name of one thing in an answer: what is kept, as half of it may have come.
local REASONS_MAX, NAME_BYTES, BEHIND_BYTES = 16, 128, 40
local COMMENT = "^:[^\r\n]*[\r\n]*$"
-- Within so much of an answer its first list begins, and what the objects of a list of images begin with.
local OPENING_BYTES = 1024
local FIRST_MEMBER = '^%s*{[^%[{]*%[%s*{%s*("[%l%d_]+")'
local IMAGE_MEMBERS = { ['"b64_json"'] = true, ['"url"'] = true, ['"revised_prompt"'] = true }
local byte, find, match, sub = string.byte, string.find, string.match, string.sub

-- A word without the quote before it, and whether there was one.
local function unquoted(word)
  local rest = match(word, '^"(.*)')
  return rest or word, rest ~= nil
end

local function text_of(said)
  if not said then return nil end
  local starts = {}
  for index, start in ipairs(said) do
    local word, quoted = unquoted(start)
    local member = match(word, "^(.*){}$")
    starts[index] = { word = member or word, quoted = quoted, object = member ~= nil }
  end
  -- where there are deltas, they are all of a stream: its other events say again what they said
  starts.streamed = starts[1].word == 'delta":' and 1 or #starts
  return starts
end

local function chats_of(said, texts)
  local chats = {}
  for index, chat in ipairs(said or {}) do
    local ends = {}
    for place = 3, #chat do ends[place - 2] = unquoted(chat[place]) end
    chats[index] = { begins = unquoted(chat[1]), cut = chat[2], ends = ends, text = texts and text_of(texts[index]) }
  end
  return chats
end

local function names_of(said)
  if not said then return nil end
  local words = {}
  for _, pair in ipairs(said.words) do words[pair[1]] = pair[2] end
  said.words = words
  return said
end

local contexts, contexts_known = {}, 0

-- What the context says, read once.
local function context_of(h)
  local told = h:filterContext():get("told")
  local context = contexts[told]
  if context then return context end
  if contexts_known == CONTEXTS_MAX then contexts, contexts_known = {}, 0 end
  local said = loadstring("return " .. told)()
  context = { costs = said.costs or {}, hides = said.hides, tells = said.tells, processed = said.processed,
    names = names_of(said.names), page = said.page, text = text_of(said.text), chats = chats_of(said.chats, said.texts) }
  contexts[told], contexts_known = context, contexts_known + 1
  return context
end

-- The moment at which the attempt was asked, in milliseconds: the cluster says in the answer's headers, which have just come, how
-- long ago it was.
local function asked_at(h, told)
  local ago = match(told or "", "^(%d+)%+")
  return ago and h:timestamp() - ago
end

-- What the request's body comes to, as reservations and charges have it: of what is told of its text, else of what was received.
local function prompt_of(told, text_bytes)
  local bytes = text_bytes or match(told or "", "%+(%d+)$")
  return bytes and math.floor(bytes / BYTES_PER_TOKEN) + 1
end

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

-- What is known of an answer while it passes: its model, its counts, the costs that were published, the text of an
-- unfinished object, how much was written since it was last counted, and how much of that was told. Of a stream also whether it
-- is over, what it is a stream of, and the end of a piece that an event goes on after; of one that is trimmed what is held of it.
local function nothing_known(h, headers, streamed)
  local began = headers:get("x-headgate-began")
  return { context = context_of(h), streamed = streamed, began = began, fetched = began and began:sub(-2) == "+0",
    asked_at = streamed and asked_at(h, began) or nil, counts = {}, done = {}, kept = "", written = 0, told = 0, over = not streamed, edge = "" }
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
  local named = state.model
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
    end
  end
  if first and named then
    state.said_model = named
    metadata:set(NAMESPACE, "response_model", named)
  end
  for name, count in pairs(counts) do
    if count >= (known[name] or -1) then set(metadata, state, name, count) end
  end
  local total = not counts.total_tokens and sum(known.input_tokens, known.output_tokens)
  if total and total > (known.total_tokens or -1) then set(metadata, state, "total_tokens", total) end
  if counts.output_tokens then pace(h, state) end
  -- of a stream there is more to come
  if state.context.tells and not state.streamed then tell(metadata, state) end
end

-- Publishes what was written, where nobody counted it. Only of models' answers: a file may read like one; and not where the
-- processor counts, which knows more.
local function estimate(h, state)
  local metadata, known = h:streamInfo():dynamicMetadata(), state.counts
  state.told = state.written
  if state.asked == nil then
    local request, published = metadata:get("headgate"), metadata:get(NAMESPACE) or {}
    state.asked = request ~= nil and request.model ~= nil and published.lane ~= "extproc"
    -- counted before admission, where the route asks for it
    state.prompt = published.prompt_tokens or prompt_of(state.began, request and request.text_bytes)
  end
  if not state.asked then return end
  state.published = true
  if not state.estimated then
    state.reported, state.estimated = known.output_tokens or 0, true
    if state.prompt and not known.input_tokens then
      state.guessed = true
      set(metadata, state, "input_tokens", state.prompt)
    end
    state.source = "estimated"
    metadata:set(NAMESPACE, "usage_source", "estimated")
  end
  set(metadata, state, "output_tokens", state.reported + math.ceil(state.written / BYTES_PER_TOKEN))
  if known.input_tokens then set(metadata, state, "total_tokens", known.input_tokens + known.output_tokens) end
end

-- Where what is written from a place on ends: a text before its quote, an object before its brace. Half of it may have come.
local function written_end(text, at, object)
  if object then
    local _, last = find(text, "^%b{}", at - 1)
    return last or #text + 1
  end
  while true do
    local quote = find(text, '"', at, true)
    if not quote then return #text + 1 end
    local before = quote - 1
    while byte(text, before) == BACKSLASH do before = before - 1 end
    if (quote - before) % 2 == 1 then return quote end
    at = quote + 1
  end
end

-- How much is written behind a word, from a place on.
local function written_behind(start, text, at)
  local word, written = start.word, 0
  while true do
    local first, last = find(text, word, at, true)
    if not first then return written end
    at = last + 1
    if not start.quoted or byte(text, first - 1) == QUOTE then
      local after, code = skip(text, at)
      if code == (start.object and BRACE or QUOTE) then
        at = written_end(text, after + 1, start.object)
        written = written + at - after - 1
      end
    end
  end
end

-- What an answer is, by the word that its streams begin with. Whole ones have that of legacy completions too.
local function recognise(state, text)
  for _, chat in ipairs(state.context.chats) do
    if find(text, chat.begins, 1, true) then state.chat = chat end
  end
end

-- Counts the text of a piece that was read: what follows the usage in it, for that counts what came before.
local function count(h, state, text)
  -- the usage of a whole answer counts all of it
  if not state.streamed and state.counts.output_tokens and not state.estimated then return end
  if not state.streamed and not state.chat then recognise(state, text) end
  local starts = state.chat and state.chat.text or state.context.text
  if not starts then return end
  local at = state.rest and math.max(#text - state.rest + 1, 1) or 1
  for index = 1, state.streamed and starts.streamed or #starts do state.written = state.written + written_behind(starts[index], text, at) end
  local news = state.streamed and state.told == 0 and 1 or NEWS_BYTES
  if state.written - state.told >= news then estimate(h, state) end
end

-- Looks in a piece of a stream for its end, and first for what it is a stream of.
local function seek(state, text)
  if not state.chat then
    state.said = state.said or not find(text, COMMENT)
    recognise(state, text)
    if not state.chat then return end
  end
  local ends = state.chat.ends
  for index = 1, #ends do
    if find(text, ends[index], 1, true) then state.over = true end
  end
end

-- Likewise across the border to the piece before, where an event goes on.
local function watch(state, text, ended)
  if state.edge ~= "" then seek(state, state.edge .. text:sub(1, EDGE_BYTES)) end
  seek(state, text)
  state.edge = ended and "" or (#text < EDGE_BYTES and state.edge .. text or text):sub(-EDGE_BYTES)
end

-- At the last chunk, which is empty: ends a stream that holds no end; one that said nothing in the first of the dialects, whose
-- event clients of all of them take for an error. Where the processor translates, it has said so itself.
local function close(h, state, chunk)
  local chat = state.chat or (not state.said and state.context.chats[1])
  if state.over or not chat then return end
  local published = state.context.processed and h:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
  if published.lane ~= "extproc" then chunk:setBytes(chat.cut) end
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

-- Counts the images of a whole answer: all of them begin with the same member, the first of the objects of `data`.
local function count_images(state, text)
  if state.image == nil then
    if state.opening then text = state.opening .. text end
    state.opening = text
    local member = find(text, '"data"', 1, true) and match(text:sub(1, OPENING_BYTES), FIRST_MEMBER)
    if not member and #text < OPENING_BYTES then return end
    state.image, state.images, state.opening = IMAGE_MEMBERS[member] and member or false, 0, ""
  end
  local word, at = state.image, 1
  if not word then return end
  local border = state.opening .. text:sub(1, #word - 1)
  if state.opening ~= "" and find(border, word, 1, true) then state.images = state.images + 1 end
  while true do
    local _, last = find(text, word, at, true)
    if not last then break end
    state.images, at = state.images + 1, last + 1
  end
  state.opening = (#text < #word and border or text):sub(1 - #word)
end

local function publish_images(h, state)
  local metadata = h:streamInfo():dynamicMetadata()
  set(metadata, state, "images", state.images)
  if state.source then return end
  state.source = "reported"
  metadata:set(NAMESPACE, "usage_source", state.source)
end

local function finish(h, state)
  if state.images and state.images > 0 then publish_images(h, state) end
  if state.written > state.told then estimate(h, state) end
  if state.estimated then pace(h, state) end
  settle(h, state)
  if state.context.tells and state.untold then tell(h:streamInfo():dynamicMetadata(), state) end
end

-- Looks in what is fetched for whether it is a response that was made in the background. It tells what it used each time: by its
-- id, which is told as well, it is counted once.
local function ask_origin(h, state, text)
  local seen = (state.before or "") .. text
  local id = find(seen, BACKGROUND) and match(state.began:sub(1, -3), RESPONSE)
  if id then
    state.fetched = false
    h:streamInfo():dynamicMetadata():set("headgate", "fetched", id)
  end
  state.before = seen:sub(-BACKGROUND_BYTES)
end

-- Whether any of the words is in the text.
local function holds(text, words)
  for _, word in ipairs(words or {}) do
    if find(text, word, 1, true) then return true end
  end
  return false
end

-- Whether one of the patterns is before a place.
local function stands_behind(patterns, text, place)
  local before = text:sub(math.max(place - BEHIND_BYTES, 1), place - 1)
  for _, pattern in ipairs(patterns) do
    if find(before, pattern) then return true end
  end
  return false
end

-- Takes the reasons of a text, as telemetry calls them; gives behind which place none is.
local function reasons_in(state, names, text)
  local reasons, from, done = state.reasons, 1, 1
  while #reasons < REASONS_MAX do
    local first, last = find(text, names.reason, from, true)
    if not first then break end
    local word, after = match(text, '^%s*:%s*"([%a_]+)"()', last + 1)
    if word and stands_behind(names.behind, text, first) then
      local reason = names.words[word] or "stop"
      reasons[#reasons + 1] = reason == "stop" and state.called and "tool_call" or reason
    end
    from, done = after or last + 1, after or done
  end
  return done
end

-- Publishes what a chat calls itself, and why it ended. The processor does that of what it serves.
local function name(h, state, text)
  local metadata, names = h:streamInfo():dynamicMetadata(), state.context.names
  if not state.reasons then
    local published = state.context.processed and metadata:get(NAMESPACE) or {}
    state.reasons, state.unnamed, state.foreign = {}, "", published.lane == "extproc"
  end
  if state.foreign then return end
  text = state.unnamed .. text
  -- words are found as they are: a pattern is tried at every byte, which costs five times all of this
  local at = not state.id and find(text, names.id, 1, true)
  if at then
    state.id = match(text, '^"%a+"%s*:%s*"([^"\\%c]+)"', at)
    if state.id then metadata:set(NAMESPACE, "response_id", state.id) end
  end
  state.called = state.called or holds(text, names.called)
  local read, reasons = reasons_in(state, names, text), state.reasons
  if names.done then
    state.whole = state.whole or find(text, names.done[state.streamed and 1 or 2], 1, true) ~= nil
    if state.whole and not reasons[1] then reasons = { state.called and "tool_call" or "stop" } end
  end
  local ended = reasons[1] and table.concat(reasons, '","')
  if ended ~= state.ended then metadata:set(NAMESPACE, "finish_reasons", reasons) end
  state.untold = state.untold or state.id ~= nil or ended ~= state.ended
  state.ended, state.unnamed = ended, text:sub(math.max(read, #text - NAME_BYTES + 1))
end

-- The object that begins at a place, whatever its texts hold, if it ends within what may be usage.
local function object_at(text, open)
  if #text - open > USAGE_BYTES_MAX then text, open = text:sub(open, open + USAGE_BYTES_MAX), 1 end
  local at, depth = open, 0
  while true do
    local code = byte(text, at)
    if code == 123 then
      depth = depth + 1
    elseif code == 125 then
      depth = depth - 1
      if depth == 0 then return text:sub(open, at) end
    else
      at = find(text, '["\\]', at + 1)
      while at and byte(text, at) == BACKSLASH do at = find(text, '["\\]', at + 2) end
      if not at then return nil end
    end
    at = find(text, '[{}"]', at + 1)
    if not at then return nil end
  end
end

-- Reads on in an answer's text. What may be the beginning of a usage is kept for the next piece, unless an event has ended.
local function read(h, state, text, ended)
  if state.fetched then ask_origin(h, state, text) end
  if state.kept ~= "" then text = state.kept .. text end
  state.kept = ""
  local named = not state.model and find(text, '"model', 1, true)
  if named then state.model = match(text, '^"model%a*"%s*:%s*"([^"\\%c]+)"', named) end
  local at = 1
  while true do
    local first, last = find(text, "usage", at, true)
    if not first then break end
    at = last + 1
    if byte(text, first - 1) == QUOTE then
      local open = match(text, '^%a*"%s*:%s*(){', at)
      local object = open and object_at(text, open)
      if object then
        publish(h, state, object)
        state.rest = #text - first
      elseif not ended and #text - first < USAGE_BYTES_MAX
        and (open or find(text, '^%a*"?%s*$', at) or find(text, '^%a*"%s*:%s*$', at)) then
        state.kept = text:sub(first - 1)
        return
      end
      -- no byte is looked at twice: an object that is too long is not looked through for others
      if open then at = open + (object and #object or USAGE_BYTES_MAX) end
    end
  end
  local quote = not ended and find(text, '"', math.max(at, #text - 5), true)
  if quote then state.kept = text:sub(quote) end
end

-- What may pass of the complete events in the text, and the unfinished rest.
local function split(h, state, text)
  local out, position = {}, 1
  while true do
    local _, last = find(text, "\r?\n\r?\n", position)
    if not last then break end
    local event = text:sub(position, last)
    local usage = find(event, '"usage"%s*:%s*{')
    if usage then read(h, state, event, true) end
    if state.asked_for or not usage or not find(event, '"choices"%s*:%s*%[%s*%]') then out[#out + 1] = event end
    position = last + 1
  end
  return table.concat(out), text:sub(position)
end

-- Takes the forced chunk out of a piece of a stream of OpenAI's chats, and reads it.
local function trim(h, state, chunk, text, ended)
  local held, held_bytes = state.held, state.held_bytes
  if held_bytes == 0 and ended then
    local usage = find(text, "usage", 1, true)
    -- whole events without usage: the bytes pass as they are
    if not usage or not find(text, '"usage"%s*:%s*{', math.max(usage - 1, 1)) then return end
  end
  if held_bytes + #text > HELD_BYTES_MAX then
    chunk:setBytes(table.concat(held) .. text)
    state.held, state.held_bytes, state.tail = {}, 0, ""
  elseif held_bytes + #text < DONE_BYTES_MAX and find(table.concat(held) .. text, "^data: ?%[DONE%]%s*$") then
    -- the end, which not every provider ends with an empty line
    chunk:setBytes(table.concat(held) .. text)
    state.held, state.held_bytes, state.tail = {}, 0, ""
  elseif not find(state.tail .. text, "\n\r?\n") then
    held[#held + 1] = text
    state.held_bytes, state.tail = held_bytes + #text, (state.tail .. text):sub(-3)
    chunk:setBytes("")
  else
    held[#held + 1] = text
    local pass, rest = split(h, state, table.concat(held))
    if find(rest, "^data: ?%[DONE%]%s*$") then pass, rest = pass .. rest, "" end
    state.held, state.held_bytes, state.tail = { rest }, #rest, rest:sub(-3)
    chunk:setBytes(pass)
    -- usage that came with this chunk counts all of it
    if state.rest then state.rest = 0 end
  end
end

-- Whether a piece of a stream ends an event.
local function ends_event(text)
  if byte(text, -1) ~= NEWLINE then return false end
  local before = byte(text, -2)
  return before == NEWLINE or (before == RETURN and byte(text, -3) == NEWLINE)
end

-- By the first byte of an answer: it is an object, an event or a comment, as nearly all are, and so came as it is.
local PLAIN = { [123] = true, [100] = true, [101] = true, [58] = true }

-- Whether an answer can be read: some providers compress what they were asked not to.
local function is_readable(h, text)
  local coding = not PLAIN[byte(text, 1)] and h:headers():get("content-encoding")
  return not coding or coding:lower() == "identity"
end

-- A piece of one that cannot be: it passes, and is counted by its size.
local function pass(h, state, text)
  if state.asked_at then begin(h, state) end
  if state.context.text then state.written = state.written + #text end
  if not state.estimated or state.written - state.told >= NEWS_BYTES then estimate(h, state) end
end

-- A piece of an answer, which is the text of the chunk.
local function piece(h, state, chunk, text)
  if state.readable == nil then
    state.readable = is_readable(h, text)
    if not state.readable then state.held, state.over = nil, true end
  end
  if not state.readable then return pass(h, state, text) end
  if state.asked_at then begin(h, state) end
  local ended = state.streamed and ends_event(text)
  if state.context.names then name(h, state, text) end
  if state.held then trim(h, state, chunk, text, ended) else read(h, state, text, ended) end
  if not state.over then watch(state, text, ended) end
  if not state.streamed and state.image ~= false then count_images(state, text) end
  count(h, state, text)
  state.rest = nil
end

-- Answers 502 for a page, such as a wrong address or a proxy in between brings. Only where the request named a model: a file
-- may be a page. Some providers call their JSON or their streams a page.
local function refuse_page(h, kind)
  if not (kind:find("html", 1, true) or kind:find("xml", 1, true)) then return end
  local request, page = h:streamInfo():dynamicMetadata():get("headgate"), context_of(h).page
  if not request or request.model == nil then return end
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
  local state = nothing_known(h, headers, streamed)
  if streamed and state.context.hides then
    request = request or h:streamInfo():dynamicMetadata():get("headgate")
    headers:remove("content-length")
    state.asked_for = request ~= nil and request.include_usage == true
    state.held, state.held_bytes, state.tail = {}, 0, ""
  end
  for chunk in h:bodyChunks() do
    local size = chunk:length()
    if size > 0 then piece(h, state, chunk, chunk:getBytes(0, size)) else close(h, state, chunk) end
  end
  -- a provider that ends without an empty line is paid for all the same
  if state.held then read(h, state, table.concat(state.held), true) end
  finish(h, state)
end
