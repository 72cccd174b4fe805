"""What the providers' own SDKs know of answers and may vanish on the way to clients of other dialects."""

import re
from typing import Final

SAYS_NOTHING: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # What a value is follows from its other members; who speaks in an answer is known.
        r"(^|[.\]])(type|role|object)$",
        # OpenAI's answers repeat the request.
        r"^(instructions|tools|tool_choice|parallel_tool_calls|temperature|top_p|top_logprobs|background|image)\b",
        r"^(access_programs|max_output_tokens|max_tool_calls|metadata|conversation|previous_response_id|prompt)\b",
        r"^(prompt_cache_\w+|reasoning|safety_identifier|text|truncation|user)\b",
        r"^output\[0\]\.(action|background|output_format|quality|size)$",
        r"^performanceConfig\.latency$|^additionalModelResponseFields\.",
        # Names and dates of what lives at the provider. What made the answer, and how it was doing.
        r"^container\.|^output\[0\]\.id$|\.audio\.(id|expires_at)$|^system_fingerprint$",
        r"^(completed_at|createTime|modelVersion)$|^output\[0\]\.(status|phase)$|^diagnostics\.",
        # How it was served; what limits and prices do not know of usage.
        r"(^|[.])(service_tier|serviceTier\.type|trafficType|speed|inference_geo)$",
        r"^usage\.(completion|prompt)_tokens_details\.",
        r"^usage\.(fallback_credit|iterations|cache_creation|server_tool_use\.web_fetch_requests|cacheDetails|billed_units)\b",
        r"^usage\.input_tokens_details\.cache_write_tokens_details\.",
        r"^usage\.cached_tokens$|^tool_usage\.image_gen\.|^output\[0\]\.svg_usage\.",
        r"^usageMetadata\.(\w+Details\[|totalTokenCount$)",
        r"^candidates\[0\]\.tokenCount$",
        # Which of the stop sequences it was. Words that an SDK does not know yet: an ordinary picture.
        r"(^|[.])stop_sequence$",
        r"\.(image|audio)\.format$|\.(inlineData|fileData)\.mimeType$",
        # Of an error, or of a refused prompt, beside its words.
        r"^(output\[0\]\.)?error\.|^promptFeedback\.blockReason|^stop_details\.fallback_has_prefill_claim$",
        # Finer grains of likelihood: what a token is made of, its number, sums of them all.
        r"\.bytes\[0\]$|\.(tokenId|token_ids\[0\])$|\.(avgLogprobs|logProbabilitySum)$",
        # Where in a source, and in the answer, the cited words stand; what else is known of a source.
        r"(annotations|citations)\[0\]\.(\w+\.)*(start|end)(_\w+)?$|\.search_?[rR]esult_?[iI]ndex$",
        r"citations\[0\]\.(cited_text|encrypted_index|file_id|text|content_index|source|location\.web\.domain)$",
        r"citations\[0\]\.(sourceContent\[0\]\.text|sources\[0\]\.(tool_output|document)\.k\.a)$",
        # Told once: it names neither page nor document, as in the smallest answer.
        r"annotations\[0\]\.(file_id|filename|index|container_id)$",
        # Of a picture or a film beside itself.
        r"^candidates\[0\]\.content\.parts\[0\]\.(part|speech|video|audio|document|spreadsheet)Metadata\.",
        r"^candidates\[0\]\.content\.parts\[0\]\.(mediaResolution|mediaProcessing|audioTranscription)\b",
        r"\.displayName$|\.bucketOwner$",
        # Pieces of arguments, which are asked for in streams.
        r"\.functionCall\.(partialArgs|willContinue)\b",
        # The first answer is the first.
        r"^candidates\[0\]\.index$",
        # What only requests hold.
        r"^output\.message\.content\[0\]\.(cachePoint|toolAddition|toolRemoval)\.",
    )
)
"""Places that may vanish."""
