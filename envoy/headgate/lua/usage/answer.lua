-- An answer as it passes: what happens to it, in order.
-- Sets members of `state` that another part has: asked_at, first_event, held, over, place, rest, written.

local function finish(h, state)
  -- a provider that ends without an empty line is paid for all the same
  if state.held then read(h, state, table.concat(state.held), true) end
  if state.place and state.streamed then judge(h, state, 0) end
  if state.searches then judge_searches(h, state, state.unsought) end
  if state.batch then tell_batch(h, state) end
  if (state.certain or state.model_late ~= nil) and state.model and not state.said_model then
    say_model(h:streamInfo():dynamicMetadata(), state, state.model)
  end
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

-- By the first byte of an answer: it is an event or a comment, or these or an object, as nearly all are, and so came as it is.
local EVENTS = { [100] = true, [101] = true, [58] = true }
local PLAIN = { [123] = true, [100] = true, [101] = true, [58] = true }

-- With the first byte of an answer: some servers call their streams JSON, their JSON a stream, and either of them text. Its length
-- may have been told by now.
local function recast(h, state, code)
  local streamed = code ~= BRACE and code ~= BRACKET and (state.streamed or EVENTS[code] == true)
  if streamed == state.streamed then return end
  state.streamed, state.over, state.held, state.asked_at = streamed, not streamed, nil, nil
  state.first_event = streamed and opens_response(state.began)
  if streamed and state.context.hides then
    hold(state, h:streamInfo():dynamicMetadata():get("headgate"))
    state.sized = h:headers():get("content-length") ~= nil
  end
end

-- A piece of an answer that cannot be read: it passes, and is counted by its size.
local function pass(h, state, text)
  if state.asked_at then begin(h, state) end
  if state.context.text then state.written = state.written + #text end
  if not state.estimated or state.written - state.told >= NEWS_BYTES then estimate(h, state) end
end

-- A piece of an answer, which is the text of the chunk.
local function piece(h, state, chunk, text)
  if state.readable == nil then
    local _, code = skip(text, 1)
    -- some servers send empty lines while they think
    if not code then return end
    if state.doubtful and not PLAIN[code] and code ~= BRACKET then
      state.other = true
      return
    end
    state.readable = is_readable(h, PLAIN, code)
    if state.readable then recast(h, state, code) else state.held, state.over = nil, true end
    if not state.streamed and code == BRACKET then state.place = listed() end
  end
  if not state.readable then return pass(h, state, text) end
  if state.asked_at then begin(h, state) end
  local ended = state.streamed and ends_event(text)
  if state.context.names and state.began and not state.fetched then name(h, state, text) end
  if state.held then trim(h, state, chunk, text, ended) else read(h, state, text, ended) end
  if not state.over then watch(state, text, ended) end
  if state.unsought then seek_searches(h, state, text) end
  if not state.streamed and state.image ~= false then count_images(state, text) end
  count(h, state, text)
  state.rest = nil
end

-- Answers 502 for a page, such as a wrong address or a proxy in between brings. Some providers call their JSON or their streams a
-- page: that is read.
local function read_page(h, headers)
  local state, body = nothing_known(h, headers, false), h:body()
  if not body then return end
  local text = body:getBytes(0, body:length())
  local start = match(text:sub(1, DONE_BYTES_MAX), "^%s*(.*)")
  if find(start, "^[%[{]") or find(start, "^%l+:") then
    piece(h, state, body, text)
    if state.held then body:setBytes(released(state, body:getBytes(0, body:length()))) end
    return finish(h, state)
  end
  -- those of before the body are out of scope
  headers = h:headers()
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(body:setBytes(state.context.page)))
end

local function read_pieces(h, state)
  for chunk in h:bodyChunks() do
    local size = chunk:length()
    if size > 0 then
      piece(h, state, chunk, chunk:getBytes(0, size))
    else
      close(h, state, chunk, state.held and released(state, "") or "")
    end
    if state.other then return end
  end
  finish(h, state)
end

-- Reads what is called neither JSON nor a stream. Only where the request named a model: a file may be anything.
local function read_other(h, headers, kind)
  local batch = batch_of_results(headers)
  if batch then return read_results(h, batch) end
  if find(kind, "^audio/") or find(kind, "^image/") or find(kind, "^video/") then return end
  local request = h:streamInfo():dynamicMetadata():get("headgate")
  if not request or request.model == nil then return end
  if find(kind, "html", 1, true) or find(kind, "xml", 1, true) then return read_page(h, headers) end
  local state = nothing_known(h, headers, false)
  state.doubtful = true
  read_pieces(h, state)
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
    return read_other(h, headers, kind)
  end
  local state = nothing_known(h, headers, streamed)
  if streamed and state.context.hides then
    headers:remove("content-length")
    hold(state, request or h:streamInfo():dynamicMetadata():get("headgate"))
  end
  read_pieces(h, state)
end
