-- Reads what a request's JSON says of its model and its answer: into metadata, and the model into the header that routes match
-- on. In one pass, without building anything: Envoy's own filter for this makes an object of every value (1 MB: 102 million
-- instructions, 23 million here).
--
-- All of the body has to be JSON as RFC 8259 has it, in UTF-8, or it is marked as broken, for a route to refuse. And it must not
-- name two models, or the provider could serve another one than the one that was authorised and routed: providers may read a
-- name that is escaped, or in another case, as "model".
--
-- Of a request to speak, which alone has a voice, it also tells how many characters are to be spoken: that is what many ask money for.
-- And of one with images or other files in it, or whose length is not known, as of what was compressed, how much of its body is text:
-- a quarter of that is what its prompt comes to.
--
-- filter_context: length_max  where limits reserve by how long an answer may be: the most that this may be
--
-- Loops of bytes are compiled, and cost a tenth of a pattern. Of what clients and providers send no pattern may begin with what
-- repeats, unless it is anchored: it is tried anew at each place of a long run, and a header of 50 KB held a worker for 12 s.

local DEPTH_MAX = 1000
local MEMBERS_MAX = 1000
-- Envoy's own filter takes no longer one as a value of metadata.
local MODEL_BYTES_MAX = 8192
local NAMESPACE = "io.envoy.ai_gateway"
local BROKEN = "is not valid JSON"
local byte, find, match, sub = string.byte, string.find, string.match, string.sub

-- What is wanted of the top level, and of objects there; of `LENGTHS` and `CHOICES` only where limits reserve. Of several the most
-- counts: which of them a provider heeds is its own affair.
local WANTED = { model = "model", stream = "stream" }
local WANTED_INSIDE = { stream_options = { include_usage = "include_usage" } }
local LENGTHS = { "maxOutputTokens", "max_output_tokens", "max_tokens", "max_completion_tokens" }
local LENGTHS_INSIDE = {
  generationConfig = { maxOutputTokens = LENGTHS[1], candidateCount = "n" },
  generation_config = { max_output_tokens = LENGTHS[2], candidate_count = "n" },
  inferenceConfig = { maxTokens = LENGTHS[3] },
}
local CHOICES, CHOICES_MAX = { "n", "best_of" }, 1000
local length_max

-- Files come as base64, by itself or in a data URL, under these names. From here on a text of nothing else is one, and counts
-- as this much (765 tokens, as the processor counts them), whatever its size.
local FILE_NAMES = { url = true, image_url = true, document_url = true, data = true, file_data = true, bytes = true }
local FILE_BYTES_MIN, FILE_BYTES, MEDIA_TYPE_BYTES_MAX = 8192, 3060, 128

-- By byte: what stands for itself in a string, what may stand after a backslash, in a file, and so on.
local PLAIN, SPACE, DIGIT, HEX, ESCAPED, FILE = {}, {}, {}, {}, {}, {}
for code = 0, 255 do
  PLAIN[code] = code >= 32 and code < 128 and code ~= 34 and code ~= 92
  SPACE[code] = code == 32 or (code >= 9 and code <= 13 and code ~= 11 and code ~= 12)
  DIGIT[code] = code >= 48 and code <= 57
  HEX[code] = tonumber(string.char(code), 16)
  FILE[code] = find(string.char(code), "^[%w+/=_-]") ~= nil
end
for letter, meant in pairs({ ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }) do
  ESCAPED[byte(letter)] = meant
end
local WORDS = { [102] = "false", [110] = "null", [116] = "true" }
local VALUES = { [102] = false, [116] = true }

local function goes_on(code, least, most) return code ~= nil and code >= (least or 128) and code <= (most or 191) end

-- How many bytes a character has that begins with such a byte; nil where it is no UTF-8.
local function wide(s, i, code)
  local second = byte(s, i + 1)
  if code >= 194 and code <= 223 then return goes_on(second) and 2 or nil end
  local third = goes_on(byte(s, i + 2))
  if code >= 224 and code <= 239 then
    return third and goes_on(second, code == 224 and 160, code == 237 and 159) and 3 or nil
  end
  if code < 240 or code > 244 then return nil end
  return third and goes_on(second, code == 240 and 144, code == 244 and 143) and goes_on(byte(s, i + 3)) and 4 or nil
end

-- The unit that four digits say; nil where they are none.
local function unit_at(s, i)
  local a, b, c, d = HEX[byte(s, i)], HEX[byte(s, i + 1)], HEX[byte(s, i + 2)], HEX[byte(s, i + 3)]
  return a and b and c and d and ((a * 16 + b) * 16 + c) * 16 + d
end

-- Where what a \u says ends, which for half of a pair is the other half's end; nil where it says nothing.
local function escaped_end(s, i)
  local unit = unit_at(s, i + 2)
  if not unit then return nil end
  if unit < 0xD800 or unit > 0xDFFF then return i + 6 end
  if unit > 0xDBFF or byte(s, i + 6) ~= 92 or byte(s, i + 7) ~= 117 then return nil end
  local low = unit_at(s, i + 8)
  return low and low >= 0xDC00 and low <= 0xDFFF and i + 12 or nil
end

-- Where the base64 of a data URL begins whose scheme ends before a place, and whether a slash before is escaped; nil where it has none.
local function data_start(s, i)
  local slash, first = match(sub(s, i - 4, i + MEDIA_TYPE_BYTES_MAX), "^data:[%w_.-]+(\\?/)[%w+.;=_-]*;base64,()")
  return first and i - 5 + first, slash == "\\/"
end

-- Where a string ends that begins before a place, whether anything in it is escaped, and whether it may be a file; nil where it
-- is none.
local function string_end(s, i)
  local first, escaped, code = i, false, byte(s, i)
  while true do
    while FILE[code] do
      i = i + 1
      code = byte(s, i)
    end
    if code == 92 and byte(s, i + 1) == 47 then -- some libraries escape slashes
      escaped, i = true, i + 2
    elseif code == 58 and i == first + 4 then
      local start, slash = data_start(s, i)
      if not start then break end
      escaped, i = slash, start
    else
      break
    end
    code = byte(s, i)
  end
  if code == 34 then return i, escaped, true end
  while true do
    code = byte(s, i)
    while PLAIN[code] do
      i = i + 1
      code = byte(s, i)
    end
    if code == 34 then return i, escaped end
    local after
    if code == 92 then
      local what = byte(s, i + 1)
      after = ESCAPED[what] and i + 2 or (what == 117 and escaped_end(s, i))
      escaped = true
    elseif code and code > 127 then
      local size = wide(s, i, code)
      after = size and i + size
    end
    if not after then return nil end
    i = after
  end
end

local function digits_end(s, i)
  while DIGIT[byte(s, i)] do i = i + 1 end
  return i
end

-- What follows a number; nil where there is none.
local function number_end(s, i)
  if byte(s, i) == 45 then i = i + 1 end
  if not DIGIT[byte(s, i)] then return nil end
  i = byte(s, i) == 48 and i + 1 or digits_end(s, i)
  if byte(s, i) == 46 then
    if not DIGIT[byte(s, i + 1)] then return nil end
    i = digits_end(s, i + 1)
  end
  local code = byte(s, i)
  if code ~= 69 and code ~= 101 then return i end
  code = byte(s, i + 1)
  i = (code == 43 or code == 45) and i + 2 or i + 1
  return DIGIT[byte(s, i)] and digits_end(s, i) or nil
end

local function character(code)
  if code < 0x80 then return string.char(code) end
  local last, rest = string.char(128 + code % 64), math.floor(code / 64)
  if code < 0x800 then return string.char(192 + rest) .. last end
  last, rest = string.char(128 + rest % 64) .. last, math.floor(rest / 64)
  if code < 0x10000 then return string.char(224 + rest) .. last end
  return string.char(240 + math.floor(rest / 64), 128 + rest % 64) .. last
end

-- What a string that was read says.
local function unescaped(text)
  local out, i = {}, 1
  while true do
    local at = find(text, "\\", i, true)
    if not at then break end
    out[#out + 1] = sub(text, i, at - 1)
    local meant = ESCAPED[byte(text, at + 1)]
    i = meant and at + 2 or escaped_end(text, at)
    if not meant then
      local unit, low = unit_at(text, at + 2), i == at + 12 and unit_at(text, at + 8)
      meant = character(low and 0x10000 + (unit - 0xD800) * 1024 + low - 0xDC00 or unit)
    end
    out[#out + 1] = meant
  end
  return table.concat(out) .. sub(text, i)
end

local function skip(s, i)
  while SPACE[byte(s, i)] do i = i + 1 end
  return i
end

-- What the string between two places says.
local function text_of(s, first, last, escaped)
  local text = sub(s, first, last)
  return escaped and unescaped(text) or text
end

-- What follows a scalar, what it says, if that is `wanted` (nil for null), and how long it is if it may be a file; nil where
-- there is none.
local function scalar(s, i, wanted)
  local code = byte(s, i)
  if code == 34 then
    local last, escaped, file = string_end(s, i + 1)
    if not last then return nil end
    file = file and last - i > FILE_BYTES_MIN and last - i - 1
    return last + 1, wanted and text_of(s, i + 1, last - 1, escaped), file
  end
  local word = WORDS[code]
  if word then
    if sub(s, i, i + #word - 1) ~= word then return nil end
    return i + #word, VALUES[code]
  end
  local after = number_end(s, i)
  return after, wanted and after and tonumber(sub(s, i, after - 1))
end

-- Notes the name of a member of the top level; what is wrong with it, if anything is.
local function name_wrong(seen, name, escaped)
  seen.members = seen.members + 1
  if seen.members > MEMBERS_MAX then return "has more than " .. MEMBERS_MAX .. " members" end
  if #name ~= 5 or name:lower() ~= "model" then return nil end
  if escaped then return "has an escaped top-level member name" end
  local other = seen.model
  seen.model = other or name
  if not other then return nil end
  local odd = name ~= "model" and name or other
  if odd ~= "model" then return "has a member '" .. odd .. "' that must be written 'model'" end
  return "has more than one member 'model'"
end

-- Notes what a wanted member says. Of two of one name a provider may heed either: of numbers the larger counts.
local function note(found, wanted, value)
  local before = found[wanted]
  if type(before) ~= "number" or (type(value) == "number" and value > before) then found[wanted] = value end
end

-- What is wanted of the text, by name; or nil and what is wrong with it.
local function read(s)
  local i, depth, in_object, objects = find(s, "^\239\187\191") and 4 or 1, 0, false, {}
  local found, seen, parent, wanted = {}, { members = 0 }, nil, nil
  local name_first, name_last = 1, 0
  while true do
    i = skip(s, i)
    local code, open = byte(s, i), false
    if code == 123 or code == 91 then
      depth, in_object = depth + 1, code == 123
      if depth > DEPTH_MAX then return nil, "is nested more than " .. DEPTH_MAX .. " deep" end
      objects[depth] = in_object
      if wanted and type(found[wanted]) ~= "number" then found[wanted] = nil end
      i = skip(s, i + 1)
      open = byte(s, i) ~= (in_object and 125 or 93)
    else
      local value, file
      i, value, file = scalar(s, i, wanted)
      if not i then return nil, BROKEN end
      if wanted then note(found, wanted, value) end
      if file and FILE_NAMES[sub(s, name_first, name_last)] then found.files = (found.files or 0) + file - FILE_BYTES end
      i = skip(s, i)
    end
    -- after a value: what it ends, and what follows
    while not open do
      if depth == 0 then
        if i <= #s then return nil, BROKEN end
        return found
      end
      code = byte(s, i)
      i = skip(s, i + 1)
      if code == 44 then
        open = true
      elseif code == (in_object and 125 or 93) then
        depth = depth - 1
        in_object = objects[depth]
      else
        return nil, BROKEN
      end
    end
    wanted = nil
    if in_object then
      local last, escaped
      if byte(s, i) == 34 then last, escaped = string_end(s, i + 1) end
      if not last then return nil, BROKEN end
      name_first, name_last = i + 1, last - 1
      if depth == 1 then
        parent = text_of(s, i + 1, last - 1, escaped)
        local wrong = name_wrong(seen, parent, escaped)
        if wrong then return nil, wrong end
        wanted = WANTED[parent]
        if parent == "input" then
          found.input = last
        elseif parent == "voice" then
          found.voice = true
        elseif parent == "prompt" then
          found.prompts = found.prompts or {}
          found.prompts[#found.prompts + 1] = last
        end
      elseif depth == 2 and WANTED_INSIDE[parent] then
        wanted = WANTED_INSIDE[parent][text_of(s, i + 1, last - 1, escaped)]
      end
      i = skip(s, last + 1)
      if byte(s, i) ~= 58 then return nil, BROKEN end
      i = i + 1
    end
  end
end

-- What bodies may be said to be written in, with which they say what UTF-8 says of them: a provider that heeds what it is told may
-- find other quotes, and so another model, in UTF-7.
local CHARSETS = { ["=utf-8"] = true, ["=utf8"] = true, ["=us-ascii"] = true, ["=iso-8859-1"] = true }
local ENCODED = "is said to be in another charset than UTF-8"

local function in_utf8(kind)
  -- nearly all say nothing of it
  if not find(kind, "=", 1, true) then return true end
  for said in kind:lower():gmatch("charset([^;]*)") do
    if not CHARSETS[(said:gsub('[%s"]', ""))] then return false end
  end
  return true
end

-- Whether a content-type is JSON's.
local function is_json(kind)
  kind = kind:lower()
  if kind == "application/json" then return true end
  local after = find(kind, "[%s;]") or #kind + 1
  if after <= #kind and not find(kind, "^%s*;", after) then return false end
  kind = sub(kind, 1, after - 1)
  return kind == "application/json" or find(kind, "^application/[%l%d.+-]+%+json$") ~= nil
end

local function refuse(h, why)
  h:respond({ [":status"] = "400", ["content-type"] = "text/plain" }, "the request body " .. why)
end

-- How many prompts the member has whose name ends at a place: of a list of texts each, and of a list of lists of tokens.
local function prompts_of(s, name_last)
  local i, count = skip(s, skip(s, name_last + 1) + 1), 0
  if byte(s, i) ~= 91 then return 1 end
  repeat
    i = skip(s, i + 1)
    local code = byte(s, i)
    if code == 34 then
      i = string_end(s, i + 1)
    elseif code == 91 then
      i = find(s, "]", i, true)
    else
      break
    end
    count = count + 1
    i = skip(s, i + 1)
  until byte(s, i) ~= 44
  return math.max(count, 1)
end

-- Publishes how long all of the answer's choices may be together, or how many they are if nothing says how long.
local function publish_length(metadata, found, text)
  local choices, length = 1, nil
  for _, name in ipairs(CHOICES) do choices = math.max(choices, tonumber(found[name]) or 1) end
  choices = math.min(math.ceil(choices), CHOICES_MAX)
  local prompts = 1
  for _, name_last in ipairs(found.prompts or {}) do prompts = math.max(prompts, prompts_of(text, name_last)) end
  choices = choices * prompts
  for _, name in ipairs(LENGTHS) do
    local said = tonumber(found[name])
    -- a limit whose estimate is no count would not be asked at all: what is none counts as the most
    if said then length = math.max(length or 0, said >= 0 and said <= length_max and said or length_max) end
  end
  if length then
    metadata:set("headgate", "max_tokens", math.min(length * choices, length_max))
  elseif choices > 1 then
    metadata:set("headgate", "choices", choices)
  end
end

-- Publishes what was found. Of a path that names a model, whose header is there, that counts and not the body's.
local function publish(h, metadata, found, named, text)
  local model = found.model
  if not named then
    if type(model) == "string" then
      if model ~= "" and #model <= MODEL_BYTES_MAX then
        metadata:set("headgate", "model", model)
        metadata:set(NAMESPACE, "model_name_override", model)
        -- a header holds no control characters, and no model is named like this
        h:headers():replace("x-ai-eg-model", find(model, "%c") and (model:gsub("%c", "\239\191\189")) or model)
      end
    elseif model ~= nil then
      metadata:set("headgate", "model", model)
    end
    if found.stream ~= nil then metadata:set("headgate", "stream", found.stream) end
  end
  if found.include_usage ~= nil then metadata:set("headgate", "include_usage", found.include_usage) end
  if found.files or not h:headers():get("content-length") then
    metadata:set("headgate", "text_bytes", #text - (found.files or 0))
  end
  if length_max then publish_length(metadata, found, text) end
end

-- How many characters the member has whose name ends at a place; nil where it is no text.
local function characters_of(s, name_last)
  local first = skip(s, skip(s, name_last + 1) + 1)
  if byte(s, first) ~= 34 then return nil end
  local last, escaped = string_end(s, first + 1)
  local count = 0
  local text = text_of(s, first + 1, last - 1, escaped)
  for index = 1, #text do
    if not goes_on(byte(text, index)) then count = count + 1 end
  end
  return count
end

-- Asked once, since an interpreter runs one filter's script: whether lengths are wanted too.
local function ask(h)
  length_max = h:filterContext():get("length_max") or false
  if not length_max then return end
  for index = 2, #LENGTHS do WANTED[LENGTHS[index]] = LENGTHS[index] end
  for _, name in ipairs(CHOICES) do WANTED[name] = name end
  for name, inside in pairs(LENGTHS_INSIDE) do WANTED_INSIDE[name] = inside end
end

local function run(h)
  if length_max == nil then ask(h) end
  local headers = h:headers()
  local kind, named = headers:get("content-type"), headers:get("x-ai-eg-model")
  local found, why, text
  if kind and not is_json(kind) then
    why = BROKEN
  elseif kind and not in_utf8(kind) then
    why = ENCODED
  else
    local body = h:body()
    if not body then return end
    text = body:getBytes(0, body:length())
    found, why = read(text)
  end
  if not found and why ~= BROKEN then return refuse(h, why) end
  local metadata = h:streamInfo():dynamicMetadata()
  local characters = found and found.voice and found.input and characters_of(text, found.input)
  if characters then metadata:set(NAMESPACE, "characters", characters) end
  if found then publish(h, metadata, found, named, text) else metadata:set("headgate", "error", "json") end
  h:clearRouteCache()
end

function envoy_on_request(h)
  local ok, failure = pcall(run, h)
  if not ok then
    h:logErr("request.lua: " .. tostring(failure))
    h:respond({ [":status"] = "500", ["content-type"] = "text/plain" }, "the gateway could not read the request")
  end
end
