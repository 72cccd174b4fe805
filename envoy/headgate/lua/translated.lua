-- What is left of upstream.lua where the processor serves a route for all of its backends, and they have one host: the
-- processor writes path, headers, body and length of each attempt, from the client's path, which is kept for the attempts
-- after it and for the access log.

function envoy_on_request(h)
  local headers, metadata = h:headers(), h:streamInfo():dynamicMetadata()
  if headers:get("x-envoy-attempt-count") ~= "1" then
    local seen, published = metadata:get("headgate"), metadata:get("io.envoy.ai_gateway")
    -- of an earlier attempt
    if published and published.losses then metadata:set("io.envoy.ai_gateway", "losses", "") end
    if seen and seen.path then
      headers:replace(":path", seen.path)
      return
    end
  end
  metadata:set("headgate", "path", headers:get(":path"))
end
