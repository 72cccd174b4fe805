-- Copies costs from the answer's trailers into dynamic metadata, and removes the trailers, which are of our making. An answer whose
-- usage nobody knows (an error, a list, a file) costs nothing.
--
-- filter_context: keys = list of the route's cost metadata keys. Envoy evaluates each cost's CEL expression into the trailer
-- "x-headgate-cost-<index>" (header_mutation); only Lua can write a number into metadata at the end of a response.

local NAMESPACE = "io.envoy.ai_gateway"
-- What bandwidth_limit tells of an answer that took a millisecond or more, and of one that it held up.
local DELAYS = { "bandwidth-response-delay-ms", "bandwidth-response-filter-delay-ms" }

function envoy_on_response(h)
  local trailers = h:trailers()
  if not trailers then return end
  for _, name in ipairs(DELAYS) do trailers:remove(name) end
  local metadata = h:streamInfo():dynamicMetadata()
  local source = (metadata:get(NAMESPACE) or {}).usage_source
  for index, key in ipairs(h:filterContext():get("keys")) do
    local name = "x-headgate-cost-" .. index
    local value = tonumber(trailers:get(name) or "")
    if value and source and source ~= "none" then metadata:set(NAMESPACE, key, value) end
    trailers:remove(name)
  end
end
