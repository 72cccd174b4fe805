-- What the scripts that read answers share: bounds of what is counted, and what a context says.

-- Of one answer. A provider's nonsense must not make a charge that Envoy cannot send, and so nothing of it.
local COUNT_MAX = 2147483647
local BYTES_PER_TOKEN = 4
local NAMESPACE = "io.envoy.ai_gateway"
local QUOTE, NEWLINE, RETURN, BACKSLASH, BRACE = 34, 10, 13, 92, 123
local byte, find, match, sub = string.byte, string.find, string.match, string.sub

local CONTEXTS_MAX = 4096
local contexts, contexts_known = {}, 0

-- What a context says, as `read` has it of the table: of each text once.
local function remembered(h, read)
  local told = h:filterContext():get("told")
  local context = contexts[told]
  if context then return context end
  if contexts_known == CONTEXTS_MAX then contexts, contexts_known = {}, 0 end
  context = read(loadstring("return " .. told)())
  contexts[told], contexts_known = context, contexts_known + 1
  return context
end

-- How chats are named, with telemetry's words by the dialect's.
local function names_of(said)
  if not said then return nil end
  local words = {}
  for _, pair in ipairs(said.words) do words[pair[1]] = pair[2] end
  said.words = words
  return said
end

-- The moment at which the attempt was asked, in milliseconds: the cluster says in the answer's headers, which have just come, how
-- long ago it was.
local function asked_at(h, told)
  local ago = match(told or "", "^%u*%+?(%d+)%+")
  return ago and h:timestamp() - ago
end

-- Whether an answer can be read that begins with such a byte: some providers compress what they were asked not to. `plain` is the
-- first bytes of those that came as they are.
local function is_readable(h, plain, code)
  local coding = not plain[code] and h:headers():get("content-encoding")
  return not coding or coding:lower() == "identity"
end
