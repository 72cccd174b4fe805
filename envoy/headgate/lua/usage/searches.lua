-- How often OpenAI searched the web for a response, which has a price of its own and stands beside the usage: "tool_usage".
-- What a client named so (a schema) stands deeper: what closes behind it tells, as of a usage (places.lua).

local TOOLS, TOOLS_BYTES_MAX = '"tool_usage"', 2048
-- How what it stands in closes behind it: a whole answer; the response of a stream's event.
local BESIDE_USAGE = { [false] = "}", [true] = "}}" }

-- At the end of what a count stands in, which is the rest that is not followed yet.
local function judge_searches(h, state, rest)
  local found = state.searches
  state.searches = nil
  follow(found, rest)
  if found.count == 0 or found.open ~= 0 or found.quoted or found.closers ~= BESIDE_USAGE[state.streamed] or state.fetched then return end
  set(h:streamInfo():dynamicMetadata(), state, "web_searches", math.max(found.count, state.counts.web_searches or 0))
end

-- The searches that an object tells.
local function searches_in(object)
  local told = match(object, '"web_search"%s*:%s*(%b{})')
  return told and numbers_of(told).num_requests or 0
end

-- Looks on in a response. An event of a stream, which is one line, is judged at its end; a whole answer at its own.
local function seek_searches(h, state, text)
  text = state.unsought .. text
  local from, at, kept = 1, 1, nil
  while true do
    local first, last = find(text, TOOLS, at, true)
    local found = state.searches
    local line = found and state.streamed and find(text, "\n", from, true)
    if line and (not first or line < first) then
      judge_searches(h, state, sub(text, from, line))
      from = line + 1
    elseif not first then
      break
    else
      local open = match(text, "^%s*:%s*(){", last + 1)
      local object = open and object_at(sub(text, open, open + TOOLS_BYTES_MAX), 1)
      local unfinished = not object and #text - first < TOOLS_BYTES_MAX
      if unfinished and (open or find(text, "^%s*:?%s*$", last + 1)) then
        kept = first
        break
      end
      if found then follow(found, sub(text, from, first - 1)) end
      from = first
      local count = object and searches_in(object) or 0
      -- what stands deeper than the one before is none
      if object and (count > 0 or found) and not (found and (found.quoted or found.closers == "")) then
        state.searches = { listed = true, closers = "", open = 0, most = 3, count = count }
        from = open + #object
      end
      -- no byte is looked at twice
      at = open and open + (object and #object or TOOLS_BYTES_MAX) or last + 1
    end
  end
  kept = kept or math.max(from, #text - #TOOLS + 2)
  local edge = state.searches and follow(state.searches, sub(text, from, kept - 1)) or ""
  state.unsought = edge .. sub(text, kept)
end
