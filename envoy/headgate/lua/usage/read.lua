-- Finds the usage and the model in an answer's text, piece by piece.
-- Sets members of `state` that another part has: first_event, model, model_late.

local USAGE = '"usage"%s*:%s*{'
-- No longer is what says that an answer was made in the background, but for spaces. Elsewhere a client may have said it.
local BACKGROUND, BACKGROUND_BYTES = '"background"%s*:%s*true', 24
-- The id of a response, in the path that its cluster tells; likewise of a batch. A longer batch is not told.
local RESPONSE, BATCH, BATCH_BYTES_MAX = "/responses/+([^/]+)", "/batches/+([^/]+)", 16384
-- How a streamed response begins, and within how much of it.
local BEGINS, OPENING_BYTES = '"response"%s*:%s*{%s*"id"%s*:%s*"([^"\\%c]+)"', 16384

-- The path that was asked for, as tolerant servers read it. What its cluster tells before it may be the client's words.
local function path_of(began)
  local path = match(began, "^.* ([^ ?]*)[^ ]*%+%d+$") or ""
  return (path:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end):lower())
end

-- Whether a text goes on to say, within so many brackets, that an answer was made in the background; and what of it is not followed
-- yet, as it may be the beginning of that.
local function says_background(place, text, depth)
  local from, at = 1, 1
  while true do
    local first, last = find(text, BACKGROUND, at)
    if not first then break end
    follow(place, sub(text, from, first - 1))
    if place.open == depth and not place.quoted then return true end
    from, at = first, last + 1
  end
  local edge = math.max(from, #text - BACKGROUND_BYTES + 1)
  return false, follow(place, sub(text, from, edge - 1)) .. sub(text, edge)
end

-- Looks in the first event of a streamed response for whether it is made in the background as well: it can be fetched, and
-- then tells again what it used.
local function ask_whether_stored(state, text, ended)
  local first = state.first_event .. text
  local begun = #first >= OPENING_BYTES or (ended and find(first, '"response"', 1, true) ~= nil)
  state.first_event = not begun and first or nil
  if not begun or not find(first, BACKGROUND) or not says_background(listed(), first, 2) then return end
  local id = match(first, BEGINS)
  state.stored = id and id:lower()
end

-- Looks in what is fetched for whether it is a response that was made in the background. It tells what it used each time: by its
-- id, which is told as well, it is counted once.
local function ask_origin(h, state, text)
  state.origin = state.origin or listed()
  local said, before = says_background(state.origin, (state.before or "") .. text, state.streamed and 2 or 1)
  local id = said and match(path_of(state.began), RESPONSE)
  if id then
    state.fetched = false
    h:streamInfo():dynamicMetadata():set("headgate", "fetched", id)
  end
  state.before = before
  if state.batch == nil then state.batch = match(path_of(state.began), BATCH) and "" or false end
  if state.batch then state.batch = #state.batch + #text <= BATCH_BYTES_MAX and state.batch .. text end
end

-- Tells the collector alone of a batch that tells what it used: it is sold at prices of its own, and no limit waits for it.
local function tell_batch(h, state)
  if not find(state.batch, USAGE) then return end
  local metadata = h:streamInfo():dynamicMetadata()
  metadata:set("headgate", "fetched", match(path_of(state.began), BATCH))
  metadata:set("headgate", "batch", state.batch)
end

-- Gemini's usage that is not judged yet and whose model is not named yet.
local function awaiting(state)
  local place = state.place
  return place and not place.told and place.named == false and place or nil
end

-- Reads on in an answer's text. What may be the beginning of a usage is kept for the next piece, unless an event has ended.
local function read(h, state, text, ended)
  if state.fetched then ask_origin(h, state, text) end
  if state.first_event then ask_whether_stored(state, text, ended) end
  if state.kept ~= "" then text = state.kept .. text end
  state.kept = ""
  local place = awaiting(state)
  local named = (place or not state.model or state.model_late) and find(text, '"model', 1, true)
  local model = named and match(text, '^"model%a*"%s*:%s*"([^"\\%c]+)"', named)
  if model and place then
    place.named = model
  elseif model then
    state.model, state.model_late = model, state.model_late and false
  end
  local at, followed, kept = 1, 1, nil
  while true do
    local first, last = find(text, "usage", at, true)
    if not first then break end
    at = last + 1
    if byte(text, first - 1) == QUOTE then
      local open = match(text, '^%a*"%s*:%s*(){', at)
      local object = open and object_at(text, open)
      if object then
        followed = take(h, state, text, followed, first - 1, open + #object, object)
      elseif not ended and #text - first < USAGE_BYTES_MAX
        and (open or find(text, '^%a*"?%s*$', at) or find(text, '^%a*"%s*:%s*$', at)) then
        kept = first - 1
        break
      end
      -- no byte is looked at twice: an object that is too long is not looked through for others
      if open then at = open + (object and #object or USAGE_BYTES_MAX) end
    end
  end
  local edge = math.max(at, #text - 5)
  if not kept and not ended then
    if not state.model or state.model_late or awaiting(state) then
      -- half of a name: another that a client wrote might stand behind it. It goes before what ends the piece, which may be its end
      local half = find(text, '"model', at, true)
      kept = half and #text - half < MODEL_BYTES and find(text, '^"model%a*"?%s*:?%s*"?[^"\\%c]*$', half)
        or find(text, '"m?o?d?e?l?$', edge)
    end
    kept = kept or find(text, '"u?s?a?g?e?$', edge)
  end
  if kept then state.kept = sub(text, kept) end
  if state.place then pursue(h, state, text, followed, kept and kept - 1 or #text, true) end
  if ended and state.place then judge(h, state, 0, text) end
  if not state.streamed and not state.read_on then
    state.read_on = true
    if state.place and not state.place.listed then look_before(h, state, text) end
  end
end
