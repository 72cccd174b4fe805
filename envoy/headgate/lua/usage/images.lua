-- Counts the images of an answer.
-- Sets members of `state` that another part has: source.

-- Within so much of an answer its first list begins, and what the objects of a list of images begin with.
local OPENING_BYTES = 1024
local FIRST_MEMBER = '^%s*{[^%[{]*%[%s*{%s*("[%l%d_]+")'
local IMAGE_MEMBERS = { ['"b64_json"'] = true, ['"url"'] = true, ['"revised_prompt"'] = true }

-- Counts the images of a whole answer: all of them begin with the same member, the first of the objects of `data`.
local function count_images(state, text)
  if state.image == nil then
    if state.opening then text = state.opening .. text end
    state.opening = text
    local member = find(text, '"data"', 1, true) and match(text:sub(1, OPENING_BYTES), FIRST_MEMBER)
    if not member and #text < OPENING_BYTES then return end
    state.image, state.images, state.opening = IMAGE_MEMBERS[member] and member or false, 0, ""
  end
  local word, at = state.image, 1
  if not word then return end
  local border = state.opening .. text:sub(1, #word - 1)
  if state.opening ~= "" and find(border, word, 1, true) then state.images = state.images + 1 end
  while true do
    local _, last = find(text, word, at, true)
    if not last then break end
    state.images, at = state.images + 1, last + 1
  end
  state.opening = (#text < #word and border or text):sub(1 - #word)
end

local function publish_images(h, state)
  local metadata = h:streamInfo():dynamicMetadata()
  set(metadata, state, "images", state.images)
  if state.published then return end
  state.source = "reported"
  metadata:set(NAMESPACE, "usage_source", state.source)
end
