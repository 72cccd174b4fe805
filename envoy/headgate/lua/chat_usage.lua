-- Reads the usage of a streamed OpenAI answer as it passes, and keeps the chunk that carries it from a client that did not
-- ask for it (the gateway forced stream_options.include_usage).
--
-- filter_context: costs = list of {cost's metadata key, name of the count that it is}, for costs that are plain counts; what
-- is computed is computed at the end of the answer (costs.lua).
--
-- Usage is published at once: OpenAI's clients hang up at "[DONE]", and what is only known when the provider's answer ends
-- would then be lost, and the request free. Complete events pass at once; an unfinished event waits for its end, at most
-- HELD_BYTES_MAX of it.

local HELD_BYTES_MAX = 1048576
local DONE_BYTES_MAX = 64
-- Of one answer. A provider's nonsense must not make a charge that Envoy cannot send, and so nothing of it.
local COUNT_MAX = 2147483647
local COUNTS = {
  { "prompt_tokens", "input_tokens" },
  { "completion_tokens", "output_tokens" },
  { "total_tokens", "total_tokens" },
  { "cached_tokens", "cached_input_tokens" },
  { "cache_creation_input_tokens", "cache_creation_input_tokens" },
  { "reasoning_tokens", "reasoning_tokens" },
}

-- Publishes the counts of an event with usage, and the costs that they are.
local function publish(h, event, from)
  local costs = h:filterContext():get("costs") or {}
  local metadata = h:streamInfo():dynamicMetadata()
  for _, row in ipairs(COUNTS) do
    local count = tonumber(event:match('"' .. row[1] .. '"%s*:%s*(%d+)', from))
    if count then
      count = math.min(count, COUNT_MAX)
      metadata:set("io.envoy.ai_gateway", row[2], count)
      for _, cost in ipairs(costs) do
        if cost[2] == row[2] then metadata:set("io.envoy.ai_gateway", cost[1], count) end
      end
    end
  end
end

-- What may pass of the complete events in the text, and the unfinished rest.
local function split(h, text, asked)
  local out, position = {}, 1
  while true do
    local _, last = text:find("\r?\n\r?\n", position)
    if not last then break end
    local event = text:sub(position, last)
    local usage = event:find('"usage"%s*:%s*{')
    if usage then publish(h, event, usage) end
    if asked or not usage or not event:find('"choices"%s*:%s*%[%s*%]') then out[#out + 1] = event end
    position = last + 1
  end
  return table.concat(out), text:sub(position)
end

function envoy_on_response(h)
  local kind = h:headers():get("content-type")
  if kind and not kind:lower():find("text/event-stream", 1, true) then return end
  local request = h:streamInfo():dynamicMetadata():get("headgate")
  -- an answer that does not say what it is is what was asked for
  if not kind and not (request and request.stream == true) then return end
  h:headers():remove("content-length")
  local asked = request ~= nil and request.include_usage == true
  local held, held_bytes, tail = {}, 0, ""
  for chunk in h:bodyChunks() do
    local size = chunk:length()
    local text = size > 0 and chunk:getBytes(0, size) or ""
    if size == 0 or (held_bytes == 0 and text:sub(-2) == "\n\n" and not text:find('"usage"%s*:%s*{')) then
      -- nothing, or whole events without usage: the bytes pass as they are
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
      local pass, rest = split(h, table.concat(held), asked)
      if rest:find("^data: ?%[DONE%]%s*$") then pass, rest = pass .. rest, "" end
      held, held_bytes, tail = { rest }, #rest, rest:sub(-3)
      chunk:setBytes(pass)
    end
  end
  -- a provider that ends without an empty line is paid for all the same
  local rest = table.concat(held)
  local usage = rest:find('"usage"%s*:%s*{')
  if usage then publish(h, rest, usage) end
end
