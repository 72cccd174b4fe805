-- Puts the credential that a request brought along into the header of this attempt's backend. A later filter adds the
-- configured one where there is still none.
--
-- filter_context: object           its name in the filter state; "" where it is in dynamic metadata
--                 namespace, key   where in the dynamic metadata it is
--                 header, prefix   where it goes, and what stands before it
--                 required         whether a request without it is answered 401
--                 client_header    the header that clients send it in; "" where a filter of others knows it

local function trimmed(text)
  return text:match("%S.*%S") or text:match("%S") or ""
end

local function brought(h, context)
  local object, info = context:get("object"), h:streamInfo()
  if object ~= "" then return info:filterState():get(object) end
  return (info:dynamicMetadata():get(context:get("namespace")) or {})[context:get("key")]
end

local function run(h)
  local context = h:filterContext()
  local found = brought(h, context)
  local value = type(found) == "string" and trimmed(found) or ""
  if value ~= "" then return h:headers():replace(context:get("header"), context:get("prefix") .. value) end
  if not context:get("required") then return end
  local header = context:get("client_header")
  local remedy = header ~= "" and " Send it in the header '" .. header .. "'." or ""
  h:respond({ [":status"] = "401", ["content-type"] = "text/plain" },
    "The request brought no credential for this model's provider." .. remedy)
end

function envoy_on_request(h)
  local ok, failure = pcall(run, h)
  if not ok then
    h:logErr("brought.lua: " .. tostring(failure))
    h:respond({ [":status"] = "500", ["content-type"] = "text/plain" }, "the gateway could not authenticate to this backend")
  end
end
