-- What is left of upstream.lua where the processor serves a route for all of its backends, and they have one host: the
-- processor writes path, headers, body and length of each attempt, from the client's path, which is kept for the attempts
-- after it and for the access log. That writes its line from text, unless the path would have to be escaped (ids of
-- requests are Envoy's own).

local function is_plain(text)
  for index = 1, #text do
    local code = text:byte(index)
    if code < 32 or code > 126 or code == 34 or code == 92 then return false end
  end
  return true
end

function envoy_on_request(h)
  local headers, metadata = h:headers(), h:streamInfo():dynamicMetadata()
  if headers:get("x-envoy-attempt-count") ~= "1" then
    local seen = metadata:get("headgate")
    if seen and seen.path then
      headers:replace(":path", seen.path)
      return
    end
  end
  local path = headers:get(":path")
  metadata:set("headgate", "path", path)
  if not is_plain(path) then metadata:set("headgate", "unplain", true) end
end
