-- What is left of upstream.lua where a route and its only backend need no other path, host or header, but streams must end
-- with their usage: asks for it (stream_options.include_usage).
--
-- The body is JSON that names one model by now, or was refused (request.lua). Takes no filter_context and reads no metadata: both
-- together cost as much as all of this. A body that speaks of no stream is not walked.

-- As in upstream.lua, so that a request is not refused on one route and served on another.
local MEMBERS_MAX = 1000
local USAGE_PATHS = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true }
local OURS = { stream = true, stream_options = true }

-- The last position up to i that is not JSON white space.
local function trimmed(s, i)
  while true do
    local c = s:byte(i)
    if c ~= 32 and c ~= 9 and c ~= 10 and c ~= 13 then return i end
    i = i - 1
  end
end

-- Byte ranges of the top-level members of a JSON object, by name, the position of its closing brace and how many they are; or
-- nil and why.
local function members(s)
  local i = s:match("^%s*{()")
  if not i then return nil, "is not a JSON object" end
  local found, depth, at_name, current, count = {}, 1, true, nil, 0
  while true do
    local p = s:find('[%[%]{},"]', i)
    if not p then return nil, "is truncated JSON" end
    local c = s:byte(p)
    i = p + 1
    if c == 34 then
      local q = i
      while true do
        q = s:find('["\\]', q)
        if not q then return nil, "has an unterminated JSON string" end
        if s:byte(q) == 34 then break end
        q = q + 2
      end
      i = q + 1
      if depth == 1 and at_name then
        local name = s:sub(p + 1, q - 1)
        at_name, count = false, count + 1
        if count > MEMBERS_MAX then return nil, "has more than " .. MEMBERS_MAX .. " members" end
        if name:find("\\", 1, true) then return nil, "has an escaped top-level member name" end
        if found[name] then return nil, "has more than one member '" .. name .. "'" end
        if OURS[name] == nil and OURS[name:lower()] then
          return nil, "has a member '" .. name .. "' that must be written '" .. name:lower() .. "'"
        end
        local value = s:match("^%s*:%s*()", i)
        if not value then return nil, "has no colon after '" .. name .. "'" end
        current = { first = value }
        found[name] = current
        i = value
      end
    elseif c == 123 or c == 91 then
      depth = depth + 1
    elseif c == 44 then
      if depth == 1 and current then current.last, at_name = trimmed(s, p - 1), true end
    else
      depth = depth - 1
      if depth == 0 then
        if current and not current.last then current.last = trimmed(s, p - 1) end
        return found, p, count
      end
    end
  end
end

-- The text with `insertion` in the place of s[first..last].
local function replaced(s, first, last, insertion)
  return s:sub(1, first - 1) .. insertion .. s:sub(last + 1)
end

-- The body that asks for usage.
local function asking(s, found, close)
  local options = found.stream_options
  if not options then return replaced(s, close, close - 1, ',"stream_options":{"include_usage":true}') end
  local inner, at, count = members(s:sub(options.first, options.last))
  if not inner then return replaced(s, options.first, options.last, '{"include_usage":true}') end
  local usage, before = inner.include_usage, options.first - 1
  if usage then return replaced(s, before + usage.first, before + usage.last, "true") end
  return replaced(s, before + at, before + at - 1, (count > 0 and "," or "") .. '"include_usage":true')
end

-- Whether a provider may serve this path as one whose streams must end with usage, however it is spelled.
local function streams_usage(path)
  local bare = path:match("^[^?]*")
  return USAGE_PATHS[bare] or USAGE_PATHS[(bare:lower():gsub(";.*$", ""):gsub("/+$", ""))]
end

local function refuse(h, why)
  h:respond({ [":status"] = "400", ["content-type"] = "text/plain" }, why)
end

local function run(h)
  local body = h:body()
  if not body then return end
  local text = body:getBytes(0, body:length())
  local lower = text:lower()
  -- \u006. and \u007. can spell its letters
  if not (lower:find('"stream"', 1, true) or lower:find("\\u006", 1, true) or lower:find("\\u007", 1, true)) then return end
  -- asked for late: of what is no stream nearly no request comes here, and headers cost as much as the rest
  local headers = h:headers()
  local kind, path = headers:get("content-type"), headers:get(":path")
  if kind and not kind:lower():find("^application/.*json") then return end
  local found, close = members(text)
  if not found then return refuse(h, "the request body " .. close) end
  local stream = found.stream and text:sub(found.stream.first, found.stream.last)
  if not stream or stream == "null" or not streams_usage(path) then return end
  if stream ~= "true" and stream ~= "false" then return refuse(h, "the request body's 'stream' must be true or false") end
  if stream == "false" then return end
  local out = asking(text, found, close)
  if out ~= text then h:headers():replace("content-length", tostring(body:setBytes(out))) end
end

function envoy_on_request(h)
  local ok, failure = pcall(run, h)
  if not ok then
    h:logErr("asking.lua: " .. tostring(failure))
    h:respond({ [":status"] = "500", ["content-type"] = "text/plain" }, "the gateway could not check the request")
  end
end
