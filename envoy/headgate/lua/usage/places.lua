-- Where what looks like a usage stands. What a client has said again (a schema, in OpenAI's Responses) or a model wrote (a call's
-- input) may look like one, but stands deeper. What closes behind it tells how deep: usage is near the end of its JSON, and what comes
-- before it is not looked at.
-- Sets members of `state` that another part has: model, model_late, place, published, rest, source, written.

-- How what a usage stands in closes behind it: a whole answer; an event of a stream, its response, message or extension, its first choice.
local CLOSED = { [false] = { ["}"] = true }, [true] = { ["}"] = true, ["}}"] = true, ["}]}"] = true } }
-- No usage stands deeper.
local CLOSERS_MAX = { [false] = 1, [true] = 3 }
-- How nearly all end behind their usage, from its next brace on: what has opened before that can only make it stand less deep.
local AT_ONCE = { [false] = "^(})%s*$", [true] = "^([}%]]+)\r?\n\r?\n" }
-- Of a list of answers (Gemini's streams, asked for as JSON) all is followed, from the first byte: within so many brackets usage stands.
local BRACKET, LISTED = 91, 2

-- (What closes what never opened is no JSON: it is followed no further; nor is what goes on behind all that usage stands in.)
local function listed() return { listed = true, behind = "", closers = "", open = 0, most = 0 } end

-- Follows a text: what opens in it and what closes, but for what is in texts.
local function follow(place, text)
  local at = 1
  while true do
    if place.quoted then
      at = text_end(text, at)
      if at > #text then break end
      place.quoted, at = false, at + 1
    end
    at = find(text, '[%[%]{}"]', at)
    if not at then return "" end
    local code = byte(text, at)
    local goes_on = code ~= 93 and code ~= 125
    if goes_on and not place.listed and #place.closers == place.most then
      place.closers = place.closers .. "+"
      return ""
    elseif code == QUOTE then
      place.quoted = true
    elseif code == BRACE or code == BRACKET then
      place.open = place.open + 1
    elseif place.open > 0 then
      place.open = place.open - 1
    else
      place.closers = place.closers .. string.char(code)
      if #place.closers > place.most then return "" end
    end
    at = at + 1
  end
  -- half of an escape
  local first = #text
  while byte(text, first) == BACKSLASH do first = first - 1 end
  return (#text - first) % 2 == 1 and "\\" or ""
end

-- What Gemini calls the model, behind its usage; before that a model may have written another name. False: it is still to come.
local METADATA, MODEL_BYTES = 77, 256
local function named_behind(text, last)
  local behind = sub(text, last, last + MODEL_BYTES)
  local named = find(behind, '"modelVersion"', 1, true)
  return named and match(behind, '^"%a+"%s*:%s*"([^"\\%c]+)"', named) or false
end

-- Counts a usage, and what its answer or event wrote with it; so much of the piece follows those. A name that is still to come is told
-- at the end, and what stood before the usage where none comes.
local function accept(h, state, object, rest, named)
  state.model, state.model_late = named or state.model, named == false or nil
  publish(h, state, object)
  state.rest = rest
end

-- Counts what seems to be the usage of a whole answer, before its end, as a client may leave; with what it takes to take it back.
local function trust(h, state, place, text)
  place.told, place.text, place.written, place.model = true, text, state.written, state.model
  accept(h, state, place.object, 0, place.named)
end

-- Takes back what was published of what turned out to be none, as the piece ended where it could have been one; and counts what was
-- written until then.
local function take_back(h, state)
  local metadata, place = h:streamInfo():dynamicMetadata(), state.place
  for name in pairs(state.counts) do set(metadata, state, name, 0) end
  metadata:set(NAMESPACE, "usage_source", "none")
  state.counts, state.published, state.source, state.written, state.rest = {}, nil, "none", place.written, nil
  state.model, state.model_late = place.model, nil
  if state.context.tells then tell(metadata, state) end
  count(h, state, place.text)
end

-- At the end of its event or answer: counts what stood where usage stands.
local function judge(h, state, rest, text)
  local place = state.place
  local stands = CLOSED[state.streamed][place.closers] and place.open == 0 and not place.quoted
  if state.streamed then
    state.place = nil
    if stands then accept(h, state, place.object, rest, place.named) end
  elseif stands and not place.told then
    trust(h, state, place, text)
  end
end

-- Where an event ends in a text, and the beginning of such an end, for the next piece.
local function event_end(text)
  local first, last = find(text, "\n\r?\n")
  return last, first and "" or match(sub(text, -2), "\n\r?$") or ""
end

-- Follows what comes behind what looked like a usage, from a place to another; `over`: to all that has come. A whole answer is judged
-- then alone: what is taken back is looked through again.
local function pursue(h, state, text, from, to, over)
  local place = state.place
  if place.fresh then
    -- nearly always nothing follows
    place.behind, place.fresh = sub(text, from, to), nil
    return
  end
  local behind, stop, edge = place.behind .. sub(text, from, to), nil, ""
  if state.streamed then stop, edge = event_end(behind) end
  place.behind = follow(place, stop and sub(behind, 1, stop) or behind) .. edge
  if #place.closers > place.most then
    if place.told then take_back(h, state) end
    state.place = nil
  elseif stop or (over and not state.streamed and not place.listed) then
    judge(h, state, stop and #text - to + #behind - stop or 0, text)
  end
end

-- How deep a place in a text is that an answer begins with.
local function depth_at(text, at)
  local place = listed()
  follow(place, sub(text, 1, at - 1))
  return not place.quoted and place.open or nil
end

-- At the end of the first piece of a whole answer: of a usage there which more follows all that came before is at hand.
local function look_before(h, state, text)
  local place = state.place
  if not place or not place.first or place.told then return end
  if depth_at(text, place.first) == 1 then
    state.certain = true
    accept(h, state, place.object, 0, place.named)
  end
  state.place = nil
end

-- Takes up what looks like a usage, an object between two places; gives from where on is to be followed.
local function take(h, state, text, followed, first, last, object)
  if state.certain then return last end
  local named
  if byte(text, first + 6) == METADATA then named = named_behind(text, last) end
  local place = state.place
  if place then
    place.fresh = nil
    pursue(h, state, text, followed, first - 1)
    place = state.place
  end
  if place and place.listed then
    if place.open == LISTED then accept(h, state, object, #text - last, named) end
    return last
  end
  -- what stands deeper than the one before is none
  if place and place.open > #place.closers then return last end
  if place and place.told then take_back(h, state) end
  local behind, streamed = find(text, "}", last, true), state.streamed
  local closers = behind and match(text, AT_ONCE[streamed], behind)
  local at_once = closers and CLOSED[streamed][closers]
  if at_once and streamed then
    state.place = nil
    accept(h, state, object, #text - behind, named)
    return behind
  end
  place = { object = object, named = named, behind = "", closers = "", open = 0, most = CLOSERS_MAX[streamed], first = first, fresh = at_once }
  state.place = place
  if at_once then trust(h, state, place, text) end
  return last
end
