-- What is left of upstream.lua where a route and its backends need no other path, host, body or header: a request must not
-- name two models, or the provider could serve another one than the one that was authorised and routed.
--
-- The body is JSON by now, or was refused. Takes no filter_context: reading one costs half of all this.

-- As in upstream.lua, so that a request is not refused on one route and served on another.
local MEMBERS_MAX = 1000

-- What is wrong with the top level of an object that may name two models; nil if nothing is. Providers may read an escaped
-- name, or one in another case, as "model".
local function wrong(s)
  local depth, at_name, found, count, i = 0, false, false, 0, 1
  while true do
    local p = s:find('[%[%]{},"]', i)
    if not p then return nil end
    local c = s:byte(p)
    i = p + 1
    if c == 34 then
      local q = i
      while true do
        q = s:find('["\\]', q)
        if not q then return "has an unterminated JSON string" end
        if s:byte(q) == 34 then break end
        q = q + 2
      end
      if depth == 1 and at_name then
        local name = s:sub(i, q - 1)
        at_name, count = false, count + 1
        if count > MEMBERS_MAX then return "has more than " .. MEMBERS_MAX .. " members" end
        if name:find("\\", 1, true) then return "has an escaped top-level member name" end
        if #name == 5 and name:lower() == "model" then
          if name ~= "model" then return "has a member '" .. name .. "' that must be written 'model'" end
          if found then return "has more than one member 'model'" end
          found = true
        end
      end
      i = q + 1
    elseif c == 123 or c == 91 then
      depth = depth + 1
      if depth == 1 then at_name = c == 123 end
    elseif c == 44 then
      if depth == 1 then at_name = true end
    else
      depth = depth - 1
    end
  end
end

local function run(h)
  local body = h:body()
  if not body then return end
  local text = body:getBytes(0, body:length())
  local lower = text:lower()
  local _, first = lower:find('"model"', 1, true)
  -- \u006. can spell the letters of "model"
  if not ((first and lower:find('"model"', first, true)) or lower:find("\\u006", 1, true)) then return end
  -- asked for late: nearly no request comes here, and a header costs as much as the rest
  local kind = h:headers():get("content-type")
  if kind and not kind:lower():find("json", 1, true) then return end
  local why = wrong(text)
  if why then h:respond({ [":status"] = "400", ["content-type"] = "text/plain" }, "the request body " .. why) end
end

function envoy_on_request(h)
  local ok, failure = pcall(run, h)
  if not ok then
    h:logErr("guard.lua: " .. tostring(failure))
    h:respond({ [":status"] = "500", ["content-type"] = "text/plain" }, "the gateway could not check the request")
  end
end
