-- Keeps the usage chunk that the gateway forced (stream_options.include_usage) from a client that did not ask for it.
--
-- Sits before the usage extraction in the filter list, so after it on the response path: the chunk is counted, then dropped.
-- Complete events pass at once; an unfinished event waits for its end. Lets everything go after HELD_BYTES_MAX.

local HELD_BYTES_MAX = 1048576

local function is_usage_chunk(event)
  return event:find('"choices"%s*:%s*%[%s*%]') and event:find('"usage"%s*:%s*{')
end

-- What may pass of the complete events in the text, and the unfinished rest.
local function split(text)
  local out, position = {}, 1
  while true do
    local _, last = text:find("\r?\n\r?\n", position)
    if not last then break end
    local event = text:sub(position, last)
    if not is_usage_chunk(event) then out[#out + 1] = event end
    position = last + 1
  end
  return table.concat(out), text:sub(position)
end

function envoy_on_response(h)
  local kind = h:headers():get("content-type")
  if not kind or not kind:find("text/event-stream", 1, true) then return end
  local request = h:streamInfo():dynamicMetadata():get("headgate")
  if request and request.include_usage == true then return end
  local held, held_bytes, tail = {}, 0, ""
  for chunk in h:bodyChunks() do
    local size = chunk:length()
    local text = size > 0 and chunk:getBytes(0, size) or ""
    if size == 0 or (held_bytes == 0 and text:sub(-2) == "\n\n" and not text:find('"choices"%s*:%s*%[%s*%]')) then
      -- nothing, or whole events without a usage chunk: the bytes pass as they are
    elseif held_bytes + size > HELD_BYTES_MAX then
      chunk:setBytes(table.concat(held) .. text)
      held, held_bytes, tail = {}, 0, ""
    elseif not (tail .. text):find("\n\r?\n") then
      held[#held + 1] = text
      held_bytes, tail = held_bytes + size, (tail .. text):sub(-3)
      chunk:setBytes("")
    else
      held[#held + 1] = text
      local pass, rest = split(table.concat(held))
      held, held_bytes, tail = { rest }, #rest, rest:sub(-3)
      chunk:setBytes(pass)
    end
  end
end
