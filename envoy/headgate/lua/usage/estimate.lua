-- Counts what nobody reports: the text in a model's answer, as it passes.
-- Sets members of `state` that another part has: estimated, guessed, published, source, told, written.

-- So much is written before an estimate is published again; the first words of a stream are, as its client may leave.
local NEWS_BYTES = 256

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
  if not object then return text_end(text, at) end
  local _, last = find(text, "^%b{}", at - 1)
  return last or #text + 1
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
