-- What a chat calls itself and why it ended, where requests are traced.
-- Sets members of `state` that another part has: untold.

-- Of choices, and of the name of one thing in an answer: what is kept, as half of it may have come.
local REASONS_MAX, NAME_BYTES, BEHIND_BYTES = 16, 128, 40

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
