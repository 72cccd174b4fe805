-- An answer as it passes: what happens to it, in order.
-- Sets members of `state` that another part has: held, held_bytes, over, place, rest, tail, written.

local function finish(h, state)
  if state.images and state.images > 0 then publish_images(h, state) end
  if state.written > state.told then estimate(h, state) end
  if state.estimated then pace(h, state) end
  settle(h, state)
  if state.context.tells and state.untold then tell(h:streamInfo():dynamicMetadata(), state) end
end

-- Whether a piece of a stream ends an event.
local function ends_event(text)
  if byte(text, -1) ~= NEWLINE then return false end
  local before = byte(text, -2)
  return before == NEWLINE or (before == RETURN and byte(text, -3) == NEWLINE)
end

-- By the first byte of an answer: it is an object, an event or a comment, as nearly all are, and so came as it is.
local PLAIN = { [123] = true, [100] = true, [101] = true, [58] = true }

-- A piece of an answer that cannot be read: it passes, and is counted by its size.
local function pass(h, state, text)
  if state.asked_at then begin(h, state) end
  if state.context.text then state.written = state.written + #text end
  if not state.estimated or state.written - state.told >= NEWS_BYTES then estimate(h, state) end
end

-- A piece of an answer, which is the text of the chunk.
local function piece(h, state, chunk, text)
  if state.readable == nil then
    state.readable = is_readable(h, PLAIN, text)
    if not state.readable then state.held, state.over = nil, true end
    if not state.streamed and find(text, "^%s*%[") then state.place = listed() end
  end
  if not state.readable then return pass(h, state, text) end
  if state.asked_at then begin(h, state) end
  local ended = state.streamed and ends_event(text)
  if state.context.names and state.began and not state.fetched then name(h, state, text) end
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
    local batch = batch_of_results(headers)
    if batch then return read_results(h, batch) end
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
  if state.place and streamed then judge(h, state, 0) end
  if state.batch then tell_batch(h, state) end
  finish(h, state)
end
