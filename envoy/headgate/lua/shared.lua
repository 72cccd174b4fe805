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

local function found(h)
  local known = h:virtualHost():metadata()
  local text = known:get(VERSION)
  if text then
    script = compiled(text)
    return script
  end
  for name, other in pairs(known) do
    others[name] = others[name] or compiled(other)
    return others[name]
  end
end

function envoy_on_request(h)
  local run = script or found(h)
  if run then return run(h) end
  h:logErr("shared.lua: the virtual host has no script")
  h:respond({ [":status"] = "503", ["content-type"] = "text/plain" }, "The backend of this model is being changed; try again.")
end
