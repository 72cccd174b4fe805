-- Tells of one model what its list tells: the answer to GET /v1/models/{id}, in OpenAI's words or in Anthropic's. The route
-- that runs it answers for models that there are none of.
--
-- filter_context: path       string, what stands before the model
--                 anthropic  boolean, whether only Anthropic's clients ask there; else the header anthropic-version tells
--                 models     string, a line for each model: its name, owner, moment in Unix seconds and moment in words, all
--                            but the number as JSON, with tabs between
--
-- Runs last of the listener's filters: who may not ask has been answered.

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- The rest of a model's line, and its name as JSON; nil if there is no such model.
local function found(models, name)
  if name:find("%c") then return nil end
  local quoted = '"' .. name:gsub('[\\"]', "\\%0") .. '"'
  local first, last = models:find("\n" .. quoted .. "\t", 1, true)
  if first then return quoted, models:match("^[^\n]*", last + 1) end
end

function envoy_on_request(h)
  local headers, context = h:headers(), h:filterContext()
  local path, models = context:get("path"), "\n" .. context:get("models")
  local asked = headers:get(":path"):match("^[^?]*"):sub(#path + 1)
  local name, line = found(models, asked)
  if not name then name, line = found(models, unescaped(asked)) end
  if not name then return end
  local owner, created, moment = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)$")
  local body
  if context:get("anthropic") or headers:get("anthropic-version") then
    body = '{"id":' .. name .. ',"type":"model","display_name":' .. name .. ',"created_at":' .. moment .. "}"
  else
    body = '{"id":' .. name .. ',"created":' .. created .. ',"object":"model","owned_by":' .. owner .. "}"
  end
  h:respond({ [":status"] = "200", ["content-type"] = "application/json" }, body)
end
