-- Prepares one attempt for one backend: the first upstream filter of every AI cluster.
--
-- filter_context: told, the text of a table:
--   root           string, the path below which clients ask, without "/" at its end; absent where that is "/"
--   host           string, the authority to send; absent keeps the client's
--   prefix         string, replaces the client's "/v1" (or "/anthropic/v1", "/cohere"); absent keeps the path
--   azure_version  string, the api-version of Azure's deployment paths; the deployment is the model
--   translate      list of the client paths that the processor serves, or how they end where they name the model: it
--                  writes path, headers and body
--   model          string, replaces the body's model
--   alone          true where no other backend can take a later attempt
--   models_path    string, what stands before the model in the paths of a dialect that names it there
--   path_model     string, replaces the path's model
--   include_usage  true to force stream_options.include_usage on streamed OpenAI requests
--   body_set       list of {name, raw JSON}; body_remove: list of names; body_within: list of {name, table of these three}
--   managed        list of the header names that any backend of this rule sets or removes
--   publish        table of what to tell of an attempt that the processor does not serve, in the metadata
--                  io.envoy.ai_gateway; the model is added
-- Or, of a route whose only backend needs nothing but another model in a body that is JSON and has one (a chat's):
--   renames        true
--   model          string, replaces the body's model
-- The filter after this one strips credentials and internal headers, and sets and removes the backend's own headers.
--
-- A body is JSON that names one model by now, unless it is a form's, or was refused (request.lua).
--
-- Rules: Envoy shares request headers between attempts, so everything here starts from the client's originals: the attempt
-- that is first to change any keeps them all in dynamic metadata, and every later one restores them. Headers and context
-- are dead once h:body() has yielded; an error must answer, or the request would pass unmodified.
--
-- Costs, in instructions of Envoy 1.40: see envoy/README.md. Hence `backends`, and nothing is read that an attempt does not need.

local BACKENDS_MAX = 4096
-- Of a body's top level. A million would take 500 MB of Lua's memory, which Envoy never gets back.
local MEMBERS_MAX = 1000
local USAGE_PATHS = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true }
-- What Azure serves below a deployment.
local DEPLOYED = { ["/chat"] = true, ["/completions"] = true, ["/embeddings"] = true, ["/images"] = true, ["/audio"] = true }
-- What we read of a body. Some providers take these names in any case, and would see another value than we do.
local OURS = { stream = true, stream_options = true }

local function json_string(text)
  return '"' .. (text:gsub('[%z\1-\31\\"]', function(c) return string.format("\\u%04x", c:byte()) end)) .. '"'
end

-- The last position up to i that is not JSON white space.
local function trimmed(s, i)
  while true do
    local c = s:byte(i)
    if c ~= 32 and c ~= 9 and c ~= 10 and c ~= 13 then return i end
    i = i - 1
  end
end

-- Byte ranges of the top-level members of a JSON object: list, by name, position of the closing brace; or nil and why.
-- Walks once and trusts the inside of nested values. `inner` is true of an object within the body.
local function members(s, inner)
  local i = s:match("^%s*{()")
  if not i then return nil, "the request body is not a JSON object" end
  local list, depth, at_key, by_name, current = {}, 1, true, {}, nil
  while true do
    local p = s:find('[%[%]{},"]', i)
    if not p then return nil, "the request body is truncated JSON" end
    local c = s:byte(p)
    if c == 34 then
      local q = p + 1
      while true do
        q = s:find('["\\]', q)
        if not q then return nil, "the request body has an unterminated JSON string" end
        if s:byte(q) == 34 then break end
        q = q + 2
      end
      if depth == 1 and at_key then
        local name = s:sub(p + 1, q - 1)
        if name:find("\\", 1, true) then return nil, "a member name of the request body is escaped" end
        if by_name[name] then return nil, "the request body has more than one member '" .. name .. "'" end
        if not inner and OURS[name] == nil and OURS[name:lower()] then
          return nil, "the request body's member '" .. name .. "' must be written '" .. name:lower() .. "'"
        end
        local value = s:match("^%s*:%s*()", q + 1)
        if not value then return nil, "a colon is missing after '" .. name .. "' in the request body" end
        current = { name = name, key = p, first = value }
        by_name[name] = current
        list[#list + 1] = current
        if #list > MEMBERS_MAX then return nil, "the request body has more than " .. MEMBERS_MAX .. " members" end
        at_key = false
        i = value
      else
        i = q + 1
      end
    else
      if c == 123 or c == 91 then
        depth = depth + 1
      elseif c == 44 then
        if depth == 1 and current then current.last, at_key = trimmed(s, p - 1), true end
      else
        depth = depth - 1
        if depth == 0 then
          if current and not current.last then current.last = trimmed(s, p - 1) end
          if s:find("%S", p + 1) then return nil, "there is text after the JSON of the request body" end
          return list, by_name, p
        end
      end
      i = p + 1
    end
  end
end

-- Edits are {first, last, text}: replace s[first..last]; an insertion has last = first - 1.
local function apply(s, edits)
  table.sort(edits, function(a, b) return a[1] < b[1] end)
  local out, next_byte = {}, 1
  for _, edit in ipairs(edits) do
    out[#out + 1] = s:sub(next_byte, edit[1] - 1)
    out[#out + 1] = edit[3]
    next_byte = edit[2] + 1
  end
  out[#out + 1] = s:sub(next_byte)
  return table.concat(out)
end

-- With members added before the closing brace as well.
local function patched(s, edits, additions, list, close)
  if #additions > 0 then edits[#edits + 1] = { close, close - 1, (#list > 0 and "," or "") .. table.concat(additions, ",") } end
  if #edits == 0 then return s end
  return apply(s, edits)
end

local function usage_edit(s, by_name, additions)
  local stream, options = by_name.stream, by_name.stream_options
  if not stream or not s:sub(stream.first, stream.last):match("^true$") then return nil end
  if not options then
    additions[#additions + 1] = '"stream_options":{"include_usage":true}'
    return nil
  end
  local list, inner, close = members(s:sub(options.first, options.last), true)
  if not list then return { options.first, options.last, '{"include_usage":true}' } end
  local usage = inner.include_usage
  if usage then return { options.first + usage.first - 1, options.first + usage.last - 1, "true" } end
  local at = options.first + close - 1
  return { at, at - 1, (#list > 0 and "," or "") .. '"include_usage":true' }
end

-- The object's text without the removed members; what is kept keeps its bytes.
local function without(s, list, removes)
  local kept = {}
  for _, member in ipairs(list) do
    if not removes[member.name] then kept[#kept + 1] = s:sub(member.key, member.last) end
  end
  return "{" .. table.concat(kept, ",") .. "}"
end

local function replacements(changes)
  local values, order = {}, {}
  local function set(name, raw)
    if not values[name] then order[#order + 1] = name end
    values[name] = raw
  end
  if changes.model then set("model", json_string(changes.model)) end
  for _, pair in ipairs(changes.body_set) do set(pair[1], pair[2]) end
  return values, order
end

-- Whether the text has the quoted word more often than that.
local function more_than(count, text, quoted)
  local position = 0
  for _ = 0, count do
    _, position = text:find(quoted, position + 1, true)
    if not position then return false end
  end
  return true
end

-- Whether the text may say "stream" where we saw none: a stream without usage (of a backend whose streams must end with it) is one
-- that nobody pays for. `stream` is nil where that does not matter.
local function unusual(text, stream)
  if not stream then return false end
  local lower = text:lower()
  -- \u006. and \u007. can spell its letters
  return more_than(stream.seen and 1 or 0, lower, '"stream"') or lower:find("\\u006", 1, true) or lower:find("\\u007", 1, true)
end

-- The body with another model, without walking it; nil where that takes a walk. The body has a model, or it would not be here: so
-- where its name stands in the text but once, there is the member.
local function with_model(text, changes)
  if not changes.model or changes.include_usage or changes.edits then return nil end
  if unusual(text, changes.stream) or more_than(1, text, '"model"') then return nil end
  local _, last = text:find('"model"', 1, true)
  local first = last and text:match('^%s*:%s*()"', last + 1)
  local finish = first and text:find('["\\]', first + 1)
  if not finish or text:byte(finish) ~= 34 then return nil end
  return text:sub(1, first - 1) .. json_string(changes.model) .. text:sub(finish + 1)
end

local function sets(changes)
  if changes.body_set[1] then return true end
  for _, pair in ipairs(changes.body_within) do
    if sets(pair[2]) then return true end
  end
  return false
end

local rewrite

-- The object with what changes within its members, which is said of objects alone: a list stays, anything else becomes one.
local function within(s, changes, inner)
  local list, by_name, close = members(s, inner)
  if not list then return nil, by_name end
  local edits, additions = {}, {}
  for _, pair in ipairs(changes) do
    local name, change = pair[1], pair[2]
    local member = by_name[name]
    local text = member and s:sub(member.first, member.last) or ""
    local opening = text:sub(1, 1)
    if opening ~= "{" then text = opening ~= "[" and sets(change) and "{}" or nil end
    if text then
      local out, why = rewrite(text, change, true)
      if not out then return nil, why end
      if member then edits[#edits + 1] = { member.first, member.last, out }
      else additions[#additions + 1] = json_string(name) .. ":" .. out end
    end
  end
  return patched(s, edits, additions, list, close)
end

-- The rewritten body, or nil and why: members are removed first, then set, then usage is asked for, then what is within changes.
function rewrite(s, changes, inner)
  local list, by_name, close = members(s, inner)
  if not list then return nil, by_name end
  local removes, any = {}, false
  for _, name in ipairs(changes.body_remove) do
    removes[name] = true
    any = any or by_name[name] ~= nil
  end
  if any then
    s = without(s, list, removes)
    list, by_name, close = members(s, inner)
  end
  local values, order = replacements(changes)
  local edits, additions = {}, {}
  if changes.include_usage and not values.stream_options then
    edits[1] = usage_edit(s, by_name, additions)
  end
  for _, name in ipairs(order) do
    local member = by_name[name]
    if member then edits[#edits + 1] = { member.first, member.last, values[name] }
    else additions[#additions + 1] = json_string(name) .. ":" .. values[name] end
  end
  s = patched(s, edits, additions, list, close)
  if changes.body_within[1] then return within(s, changes.body_within, inner) end
  return s
end

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- The query without the client's own api-version: of two, a provider may take either.
local function other_parameters(query)
  local kept = {}
  for part in query:gmatch("[^&]+") do
    if unescaped(part:match("^[^=]*")):lower() ~= "api-version" then kept[#kept + 1] = part end
  end
  return table.concat(kept, "&")
end

-- Whether a provider may serve this path as one whose streams must end with usage, however it is spelled.
local function streams_usage(bare)
  return USAGE_PATHS[bare] or USAGE_PATHS[(bare:lower():gsub(";.*$", ""):gsub("/+$", ""))]
end

local function segment(text)
  return (text:gsub("[^%w%-%._~]", function(c) return string.format("%%%02X", c:byte()) end))
end

-- The model and the operation of a path that names the model, Gemini's or Bedrock's.
local function model_and_ending(bare)
  local model, ending = bare:match("/models/([^/]+)(:%a+)$")
  if model then return model, ending end
  return bare:match("/model/([^/]+)(/[%a%-]+)$")
end

-- The path at the provider, or nil and why there is none.
local function provider_path(backend, path, bare, model)
  local azure, prefix = backend.azure_version, backend.prefix
  local query, out = path:sub(#bare + 2), bare
  if backend.models_path then
    local named, ending = model_and_ending(bare)
    if named then
      named = backend.path_model and segment(backend.path_model) or named
      if named == "." or named == ".." then return nil, "there is no model '" .. named .. "'" end
      out = (prefix or "") .. backend.models_path .. named .. ending
    end
  elseif azure then
    local operation = bare:match("^/v1(/.*)$")
    if operation then
      if model == "." or model == ".." then return nil, "there is no deployment '" .. model .. "'" end
      -- all else belongs to the account: responses, which name the deployment in the body, files, batches
      local deployed = DEPLOYED[operation:match("^/[^/]*")]
      out = deployed and "/openai/deployments/" .. segment(model or "") .. operation or "/openai" .. operation
      query = other_parameters(query)
      query = (query ~= "" and query .. "&" or "") .. "api-version=" .. azure
    end
  elseif prefix and (prefix ~= "/v1" or path:sub(1, 4) ~= "/v1/") then
    local operation = bare:match("^/v1(/.*)$") or bare:match("^/anthropic/v1(/.*)$") or bare:match("^/cohere/v2(/.*)$")
    if operation then out = prefix .. operation end
  end
  return query ~= "" and out .. "?" .. query or out
end

local backends, backends_known = {}, 0

-- Whether the operator changes bodies; what is not told is an empty list from here on, at any depth.
local function edited(changes)
  changes.body_set, changes.body_remove = changes.body_set or {}, changes.body_remove or {}
  changes.body_within = changes.body_within or {}
  for _, pair in ipairs(changes.body_within) do edited(pair[2]) end
  return (changes.body_set[1] or changes.body_remove[1] or changes.body_within[1]) ~= nil
end

-- What the context says of the backend, read once.
local function backend_of(context)
  local told = context:get("told") or context:get("key") -- of clusters of before, whose table stands beside it
  local backend = backends[told]
  if backend then return backend end
  if backends_known == BACKENDS_MAX then backends, backends_known = {}, 0 end
  backend = context:get("backend") or loadstring("return " .. told)()
  backend.edits = edited(backend)
  backend.rewrites = backend.model ~= nil or backend.edits
  backend.translates = {}
  for _, path in ipairs(backend.translate or {}) do
    backend.translates[path] = true
    backend.translates_endings = backend.translates_endings or path:sub(1, 1) == ":" or path == "/converse"
  end
  backends[told], backends_known = backend, backends_known + 1
  return backend
end

local function restore(headers, seen, managed)
  if seen.length ~= "" then headers:replace("content-length", seen.length) else headers:remove("content-length") end
  for _, name in ipairs(managed or {}) do
    local value = seen["original:" .. name]
    if value then headers:replace(name, value) else headers:remove(name) end
  end
end

local function keep(metadata, headers, path, managed)
  metadata:set("headgate", "path", path)
  metadata:set("headgate", "length", headers:get("content-length") or "")
  for _, name in ipairs(managed or {}) do
    local value = headers:get(name)
    if value then metadata:set("headgate", "original:" .. name, value) end
  end
end

local function publish(metadata, backend, seen)
  for name, value in pairs(backend.publish) do metadata:set("io.envoy.ai_gateway", name, value) end
  local model = backend.model or seen.model
  if type(model) == "string" then metadata:set("io.envoy.ai_gateway", "model_name_override", model) end
end

-- What the processor could not say in an earlier attempt is not said of this one.
local function forget_losses(metadata)
  local published = metadata:get("io.envoy.ai_gateway")
  if published and published.losses then metadata:set("io.envoy.ai_gateway", "losses", "") end
end

local function refuse(h, why)
  h:respond({ [":status"] = "400", ["content-type"] = "text/plain" }, why)
end

-- Refuses what `unusual` found, where the walk finds it too.
local function guard(h, text, stream)
  if not unusual(text, stream) then return end
  local list, why = members(text)
  if not list then refuse(h, why) end
end

local function change(h, body, text, changes)
  local out, why = with_model(text, changes), nil
  if not out then out, why = rewrite(text, changes) end
  if not out then return refuse(h, why) end
  if out ~= text then h:headers():replace("content-length", tostring(body:setBytes(out))) end
end

-- What is left where a route tells only that the model becomes another.
local function rename(h, backend)
  local body = h:body()
  if body then change(h, body, body:getBytes(0, body:length()), backend) end
end

local function run(h)
  local backend = backend_of(h:filterContext())
  if backend.renames then return rename(h, backend) end
  local headers = h:headers()
  local path = headers:get(":path")
  local first, seen, metadata = headers:get("x-envoy-attempt-count") == "1", nil, nil
  if not first or backend.include_usage or backend.azure_version or backend.publish then
    metadata = h:streamInfo():dynamicMetadata()
    seen = metadata:get("headgate") or {}
  end
  if not first then forget_losses(metadata) end
  local kept = not first and seen.path ~= nil
  local root = backend.root
  if kept then
    path = seen.path
    restore(headers, seen, backend.managed)
  elseif root and path:sub(1, #root + 1) == root .. "/" then
    path = path:sub(#root + 1)
  end
  local mark = path:find("?", 1, true)
  local bare = mark and path:sub(1, mark - 1) or path
  local translated = backend.translates[bare]
  if not translated and backend.translates_endings and (bare:sub(1, 4) ~= "/v1/" or bare:sub(1, 11) == "/v1/models/") then
    local _, ending = model_and_ending(bare)
    translated = ending and backend.translates[ending]
  end
  local sent_path, missing = path, nil
  if not translated then
    if backend.publish then publish(metadata, backend, seen) end
    sent_path, missing = provider_path(backend, path, bare, backend.model or (seen and seen.model))
    if not sent_path then return refuse(h, missing) end
  end
  local kind = headers:get("content-type") or "application/json"
  local json = not translated and kind:lower():find("^application/.*json") ~= nil
  local stream = nil
  if backend.include_usage and not translated and streams_usage(bare) then
    stream = { seen = seen.stream ~= nil, value = seen.stream or false }
    if type(stream.value) ~= "boolean" then return refuse(h, "the request body's 'stream' must be true or false") end
  end
  local include_usage = stream ~= nil and stream.value
  -- of a first attempt its header says whether there is a model, for less than metadata
  local rewrites = json and (backend.rewrites or include_usage) and (seen and seen.model or headers:get("x-ai-eg-model")) ~= nil
  -- a backend alone rewrites the body in each attempt, and so the length with it
  if not kept and (root or translated or (rewrites and not backend.alone) or backend.managed or sent_path ~= path) then
    keep(metadata or h:streamInfo():dynamicMetadata(), headers, path, backend.managed)
  end
  if kept or root or sent_path ~= path then headers:replace(":path", sent_path) end
  if backend.host then headers:replace("host", backend.host) end
  local body = json and (rewrites or stream) and h:body()
  if not body then return end
  local text = body:getBytes(0, body:length())
  if not rewrites then return guard(h, text, stream) end
  local changes = { model = backend.model, edits = backend.edits, body_set = backend.body_set,
    body_remove = backend.body_remove, body_within = backend.body_within, include_usage = include_usage, stream = stream }
  change(h, body, text, changes)
end

function envoy_on_request(h)
  local ok, failure = pcall(run, h)
  if not ok then
    h:logErr("upstream.lua: " .. tostring(failure))
    h:respond({ [":status"] = "500", ["content-type"] = "text/plain" }, "the gateway could not prepare the request for this backend")
  end
end
