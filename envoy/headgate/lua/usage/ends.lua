-- Whether a stream came to its end; one that did not is ended by an error.
-- Sets members of `state` that another part has: over.

-- No word that begins or ends a stream is longer.
local EDGE_BYTES = 24
local COMMENT = "^:[^\r\n]*[\r\n]*$"

-- Looks in a piece of a stream for its end, and first for what it is a stream of.
local function seek(state, text)
  if not state.chat then
    state.said = state.said or not find(text, COMMENT)
    recognise(state, text)
    if not state.chat then return end
  end
  local ends = state.chat.ends
  for index = 1, #ends do
    if find(text, ends[index], 1, true) then state.over = true end
  end
end

-- Likewise across the border to the piece before, where an event goes on.
local function watch(state, text, ended)
  if state.edge ~= "" then seek(state, state.edge .. text:sub(1, EDGE_BYTES)) end
  seek(state, text)
  state.edge = ended and "" or (#text < EDGE_BYTES and state.edge .. text or text):sub(-EDGE_BYTES)
end

-- Whether the length of an answer was told. Of what is trimmed a header says how long its last piece was: `setBytes` sets it.
local function sized(h, state)
  if state.held then return state.sized end
  return h:headers():get("content-length") ~= nil
end

-- At the last chunk, which is empty: what is still held of a stream passes, and one that holds no end is ended; one that said nothing
-- in the first of the dialects, whose event clients of all of them take for an error. Where the processor translates, it has said so
-- itself. Where a length was told, what is behind it would be read as the next answer.
local function close(h, state, chunk, rest)
  local chat = state.chat or (not state.said and state.context.chats[1])
  if not state.over and chat and not sized(h, state) then
    local published = state.context.processed and h:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
    if published.lane ~= "extproc" then rest = rest .. chat.cut end
  end
  if rest ~= "" then chunk:setBytes(rest) end
end
