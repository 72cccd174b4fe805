-- Has the route looked up once more where a header says which backend a request goes to: Envoy chose one when it first had the
-- route, before authentication had said who the client is.

function envoy_on_request(h)
  h:clearRouteCache()
end
