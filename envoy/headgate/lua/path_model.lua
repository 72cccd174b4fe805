-- Reads the model of a request whose path names it (Gemini, Bedrock): into metadata, where a body's model would be, and
-- with it whether the path is one that streams. The route that turned this on refuses; with the model another is chosen.
--
-- Rule: whatever the body says of a model counts for nothing, since providers go by the path; so this runs first, and the
-- filter that reads bodies keeps what is there.

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

function envoy_on_request(h)
  local path = h:headers():get(":path"):match("^[^?]*")
  local model, ending = path:match("/models/([^/]+)(:%a+)$")
  if not model then model, ending = path:match("/model/([^/]+)(/[%a%-]+)$") end
  if not model then return end
  model = unescaped(model)
  if model:find("[%z\1-\31\127]") then return end
  local metadata = h:streamInfo():dynamicMetadata()
  metadata:set("headgate", "model", model)
  metadata:set("io.envoy.ai_gateway", "model_name_override", model)
  metadata:set("headgate", "stream", ending == ":streamGenerateContent" or ending:find("stream$") ~= nil)
  h:headers():replace("x-ai-eg-model", model)
  h:clearRouteCache()
end
