-- Reads the usage of an answer as it passes, in every dialect; and answers 502 for a web page where a model's answer was to be.
--
-- filter_context: told, the text of a table:
--                 costs  list of {cost's metadata key, name of the count that it is}, for costs that are plain counts; what
--                        is computed is computed at the end of the answer (costs.lua)
--                 hides  true where the gateway forced stream_options.include_usage: the chunk that it brought is kept from
--                        a client that did not ask for it
--                 tells  true where the access log's line is written from what is published here, see `tell`
--                 names  where requests are traced: what a chat calls itself and why it ended are published as well. A table of
--                        id, the member that has its name; reason, how the member ends that says why, and behind, list of patterns
--                        one of which is before that; words, list of {why as its dialect says, as telemetry does}; called, list of
--                        words one of which makes "stop" a call; done, where a reason says only why it broke off: {the word that
--                        says of a stream that it did not, of a whole answer}
--                 processed  true where the processor may serve an attempt: it publishes what it has counted, which is more
--                 page   the JSON that answers for a web page, in the client's dialect
--                 text   list of what stands before what a model writes, but for spaces and its quote, or before {} where that is an
--                        object; absent where an answer has no text
--                 texts  the same for each of `chats`, where they differ
--                 chats  list of {word, event, words…}: a stream that holds the first word is a chat, and whole if it holds one of
--                        the others; else the event ends it, in the client's dialect. What a model writes can hide a cut, no more
--
-- Usage is published at once: OpenAI's clients hang up at "[DONE]", and what is only known when the provider's answer ends
-- would then be lost, and the request free. An answer passes as it came, but for that chunk: there complete events pass at
-- once, and an unfinished event waits for its end, at most HELD_BYTES_MAX of it.
--
-- What has been written since a provider last said how much, if it ever did, is counted: a quarter of its bytes, marked as
-- estimated. It is published as the answer goes on, for a client that leaves, or a provider that breaks off, ends no answer. The
-- prompt is not seen here: its cluster says in a header how many bytes the request has, a quarter of which is its tokens.
--
-- Whether an answer is a stream is seen by how it begins, for some servers call their streams JSON, or their JSON text or a page; what
-- else a request that named a model is answered with (audio, a transcript) is not read.
--
-- So is an answer that came compressed, which nobody asked for: it passes as it came, and counts as a text of its size.
--
-- Of a stream the time to its first piece is published with that, and when it ends the time between two tokens.
--
-- A stream that its provider ends before its end, or before anything but a comment, is ended by an error, so that no client takes
-- it for an answer. What is dropped with its connection is reset to the client: there is no place for an event then.
--
-- What is fetched (a stored answer, a batch) was counted when it was asked for: an answer to a GET, or to a request without a body,
-- as its cluster says in that header, counts only where it was made in the background, whose first answer tells no usage, or whose
-- stream was left.
--
-- Rule: only what stands where a provider tells its usage is one (places.lua), and of several counts of an answer the largest is
-- right: streams count up.
--
-- Costs: see upstream.lua. A piece of a stream is looked at in place where it ends an event and began with one, as nearly all do:
-- nothing is joined or kept then. Words are looked for without a quote before them: pieces are full of quotes.

-- A word without the quote before it, and whether there was one.
local function unquoted(word)
  local rest = match(word, '^"(.*)')
  return rest or word, rest ~= nil
end

local function text_of(said)
  if not said then return nil end
  local starts = {}
  for index, start in ipairs(said) do
    local word, quoted = unquoted(start)
    local member = match(word, "^(.*){}$")
    starts[index] = { word = member or word, quoted = quoted, object = member ~= nil }
  end
  -- where there are deltas, they are all of a stream: its other events say again what they said
  starts.streamed = starts[1].word == 'delta":' and 1 or #starts
  return starts
end

local function chats_of(said, texts)
  local chats = {}
  for index, chat in ipairs(said or {}) do
    local ends = {}
    for place = 3, #chat do ends[place - 2] = unquoted(chat[place]) end
    chats[index] = { begins = unquoted(chat[1]), cut = chat[2], ends = ends, text = texts and text_of(texts[index]) }
  end
  return chats
end

local function read_context(said)
  return { costs = said.costs or {}, hides = said.hides, tells = said.tells, processed = said.processed,
    names = names_of(said.names), page = said.page, text = text_of(said.text), chats = chats_of(said.chats, said.texts) }
end

local function context_of(h) return remembered(h, read_context) end
