-- Has the route looked up once more where the rate limit service said with which backend to begin: Envoy chose one when
-- it first had the route, before anybody was asked.

function envoy_on_request(h)
  local answer = h:streamInfo():dynamicMetadata():get("headgate.ratelimit")
  if answer and answer["priority_groups"] then h:clearRouteCache() end
end
