-- Tells of one model what its list tells: the answer to GET /v1/models/{id}, in OpenAI's words, Anthropic's or Google's. The
-- route that runs it answers for models that there are none of.
--
-- filter_context: path       string, what stands before the model
--                 words      string, "anthropic" or "google": whose clients alone ask there; "" where OpenAI's do, and
--                            Anthropic's, which the header anthropic-version tells
--                 models     string, a line for each model: its name, owner, moment in Unix seconds and moment in words, all
--                            but the number as JSON, with tabs between; for Google's words its name and a tab
--
-- Runs last of the listener's filters: who may not ask has been answered.

local METHODS = '["generateContent","streamGenerateContent","countTokens"]'

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
  local words, body = context:get("words"), nil
  local owner, created, moment = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)$")
  if words == "google" then
    body = '{"name":"models/' .. name:sub(2) .. ',"supportedGenerationMethods":' .. METHODS .. "}"
  elseif words == "anthropic" or headers:get("anthropic-version") then
    body = '{"id":' .. name .. ',"type":"model","display_name":' .. name .. ',"created_at":' .. moment .. "}"
  else
    body = '{"id":' .. name .. ',"created":' .. created .. ',"object":"model","owned_by":' .. owner .. "}"
  end
  h:respond({ [":status"] = "200", ["content-type"] = "application/json" }, body)
end
