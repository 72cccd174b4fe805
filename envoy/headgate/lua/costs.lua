-- Copies costs from the synthetic response trailers into dynamic metadata, and removes the trailers.
--
-- filter_context: keys = list of the route's cost metadata keys. Envoy evaluates each cost's CEL expression into the trailer
-- "x-headgate-cost-<index>" (header_mutation); only Lua can write a number into metadata at the end of a response.

function envoy_on_response(h)
  local keys = h:filterContext():get("keys")
  local trailers = h:trailers()
  if not trailers or not keys then return end
  local metadata = h:streamInfo():dynamicMetadata()
  for index, key in ipairs(keys) do
    local name = "x-headgate-cost-" .. index
    local value = tonumber(trailers:get(name) or "")
    if value then metadata:set("io.envoy.ai_gateway", key, value) end
    trailers:remove(name)
  end
end
