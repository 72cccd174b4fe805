-- Runs a script that stands once, in the metadata of the virtual host, for all clusters: embedded in each, the script would be
-- most of what a cluster weighs. Beside Envoy Gateway, where there is no folder of scripts that Envoy can read.
--
-- The compiler puts a first line before this text: local VERSION, the key of the script that these clusters want. Between a
-- change of clusters and that of routes the virtual host has the script of before, or a later one: it is run for the time
-- being, so a script must understand the filter_context of its neighbours. metadata() is asked for only until it is loaded.

local script
local others = {}

local function compiled(text)
  local chunk = loadstring(text)
  if not chunk then return nil end
  local names = setmetatable({}, { __index = _G })
  setfenv(chunk, names)()
  return names.envoy_on_request
end

-- The handle as scripts know it whose clusters say the same in a key and a table, `backend`, and not in one text.
local function of_before(h)
  local told = h:filterContext():get("told")
  local context = {}
  function context:get(name) return name == "backend" and loadstring("return " .. told)() or told end
  local methods = {}
  function methods:filterContext() return context end
  return setmetatable(methods, { __index = function(_, name)
    return function(_, ...) return h[name](h, ...) end
  end })
end

local function found(h)
  local known = h:virtualHost():metadata()
  local text = known:get(VERSION)
  if text then
    script = compiled(text)
    return script
  end
  for name, other in pairs(known) do
    others[name] = others[name] or compiled(other)
    return others[name], of_before(h)
  end
end

function envoy_on_request(h)
  if script then return script(h) end
  local run, handle = found(h)
  if run then return run(handle or h) end
  h:logErr("shared.lua: the virtual host has no script")
  h:respond({ [":status"] = "503", ["content-type"] = "text/plain" }, "The backend of this model is being changed; try again.")
end
