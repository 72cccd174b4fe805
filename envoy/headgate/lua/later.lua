-- Runs a script that stands in a file, which is read and compiled with the first request: Envoy compiles what a filter's config
-- names once for each cluster, and a thousand routes have thousands.
--
-- The writer puts a first line before this text: local PATH, the file.

local script

function envoy_on_request(h)
  if not script then
    local chunk, reason = loadfile(PATH)
    local own, ran = envoy_on_request, false
    envoy_on_request = nil
    if chunk then ran, reason = pcall(chunk) end
    script = ran and envoy_on_request -- the one that it declares
    envoy_on_request = own
    if not script then
      h:logErr("later.lua: " .. (reason or "no script"))
      h:respond({ [":status"] = "503", ["content-type"] = "text/plain" }, "The backend of this model is being changed; try again.")
      return
    end
  end
  return script(h)
end
