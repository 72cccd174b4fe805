-- Finding the ends of objects and of texts in JSON, of which half may have come.

-- An object "usage" with its details has some hundred bytes; a longer one is something else.
local USAGE_BYTES_MAX = 8192

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

-- Where the text in quotes ends that begins at a place.
local function text_end(text, at)
  while true do
    local quote = find(text, '"', at, true)
    if not quote then return #text + 1 end
    local before = quote - 1
    while byte(text, before) == BACKSLASH do before = before - 1 end
    if (quote - before) % 2 == 1 then return quote end
    at = quote + 1
  end
end
