-- Takes the chunk that the gateway asked for out of a stream.
-- Sets members of `state` that another part has: held, rest.

local HELD_BYTES_MAX = 1048576
local DONE_BYTES_MAX = 64

-- Begins to hold what is unfinished of a stream, for a request of which so much is known.
local function hold(state, request)
  state.asked_for = request ~= nil and request.include_usage == true
  state.held, state.held_bytes, state.tail = {}, 0, ""
end

-- Whether an event that tells usage is the chunk that the gateway asked for.
local function is_forced(state, event) return not state.asked_for and find(event, '"choices"%s*:%s*%[%s*%]') end

-- What a client is given in place of the forced chunk: as many empty lines, where the length of the answer has been told.
local function instead(state, event) return state.sized and string.rep("\n", #event) or "" end

-- The end of a stream, behind what has passed of it: what is held, which ends without an empty line.
local function released(state, passed)
  local rest = table.concat(state.held)
  return passed .. (find(rest, USAGE) and is_forced(state, rest) and instead(state, rest) or rest)
end

-- What may pass of the complete events in the text, and the unfinished rest.
local function split(h, state, text)
  local out, position = {}, 1
  while true do
    local _, last = find(text, "\r?\n\r?\n", position)
    if not last then break end
    local event = text:sub(position, last)
    local usage = find(event, USAGE)
    if usage then read(h, state, event, true) end
    out[#out + 1] = usage and is_forced(state, event) and instead(state, event) or event
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
    if not usage or not find(text, USAGE, math.max(usage - 1, 1)) then return end
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
