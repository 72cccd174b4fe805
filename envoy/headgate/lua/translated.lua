-- Holds a translated request until the processor has written its body; sits right after the processor's filter.
--
-- The processor is asked for the body alone, so the headers would run ahead of it. Were they to reach the codec while the
-- connection to the provider is still being made, Envoy would send the buffered body as soon as the connection is there,
-- translated or not. It also sets the headers that the processor left in dynamic metadata.

local function run(h)
  local metadata = h:streamInfo():dynamicMetadata()
  local request = metadata:get("headgate")
  if not request or request.translated ~= true then return end
  local body = h:body()
  local headers = h:headers()
  local changes = (h:streamInfo():dynamicMetadata():get("headgate") or {}).request_headers or {}
  for name, value in pairs(changes) do
    if name == ":path" then -- the script before the processor has set it
    elseif value == "" then headers:remove(name)
    else headers:replace(name, value) end
  end
  headers:replace("content-length", tostring(body and body:length() or 0))
end

function envoy_on_request(h)
  local ok, failure = pcall(run, h)
  if not ok then
    h:logErr("translated.lua: " .. tostring(failure))
    h:respond({ [":status"] = "500", ["content-type"] = "text/plain" }, "the gateway could not send the translated request")
  end
end
