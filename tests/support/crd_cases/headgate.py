"""Objects of our own group."""

from collections.abc import Sequence

from support.crd_cases.case import GROUP, Case

OURS: Sequence[Case] = tuple(
    Case(
        f"a translation for {kind}",
        "TranslationPolicy",
        {"targetRefs": [{"group": GROUP, "kind": kind, "name": "target"}], "lane": "ExtProc"},
        refused,
        version="v1alpha1",
        group="headgate.dev",
    )
    for kind, refused in (
        ("AIServiceBackend", ""),
        ("AIGatewayRoute", "this policy can only target an AIServiceBackend"),
    )
)

THINKING: Sequence[Case] = tuple(
    Case(
        f"thinking from {least}",
        "TranslationPolicy",
        {
            "targetRefs": [{"group": GROUP, "kind": "AIServiceBackend", "name": "target"}],
            "models": [{"match": "new", "efforts": ["low"], "thinkingBudget": {"minimum": least, "maximum": 100}}],
        },
        refused,
        version="v1alpha1",
        group="headgate.dev",
    )
    for least, refused in ((10, ""), (101, "minimum must not be above maximum"))
)

_LIMITED = {"group": GROUP, "kind": "AIServiceBackend", "name": "target"}
_TOKENS = {"name": "tpm", "unit": "tokens", "amount": 100, "window": "minute"}
LIMITS: Sequence[Case] = tuple(
    Case(
        name,
        "LimitPolicy",
        {"targetRefs": [{**_LIMITED, **target}], "rules": rules},
        "Duplicate value" if "unique" in refused else refused,
        reader=refused,
        version="v1alpha1",
        group="headgate.dev",
    )
    for name, target, rules, refused in (
        ("a limit", {}, [_TOKENS], ""),
        ("a limit of a wrong group", {"kind": "Gateway"}, [_TOKENS], "this group has no such kind to limit"),
        ("two limits of a name", {}, [_TOKENS, _TOKENS], "rule names must be unique within the policy"),
        ("money without prices", {}, [{**_TOKENS, "unit": "usd"}], "prices must be set for unit usd"),
        (
            "a price for tokens",
            {},
            [{**_TOKENS, "prices": [{"model": "*", "input": 1, "output": 1}]}],
            "prices are for unit usd",
        ),
        (
            "a cost of requests",
            {},
            [{**_TOKENS, "unit": "requests", "costExpression": "1u"}],
            "costExpression is not for unit requests",
        ),
        ("a burst of a window", {}, [{**_TOKENS, "burst": 5}], "burst is for algorithm TokenBucket"),
        (
            "a calendar that slides",
            {},
            [{**_TOKENS, "algorithm": "Sliding", "timeZone": "UTC"}],
            "timeZone is for algorithm Fixed",
        ),
    )
)

_POOL = {"name": "chat", "minReservation": 50, "routes": ["chat"]}
_POOLED = {"targetRefs": [_LIMITED], "rules": [_TOKENS, {**_TOKENS, "name": "rpm", "unit": "requests"}]}
POOLS: Sequence[Case] = tuple(
    Case(
        name,
        "LimitPolicy",
        {**_POOLED, **spec},
        "Duplicate value" if "unique" in refused else refused,
        reader=refused,
        version="v1alpha1",
        group="headgate.dev",
    )
    for name, spec, refused in (
        ("pools", {"pools": [_POOL, {"name": "docs", "rank": 2, "maxReservation": 50}]}, ""),
        ("pools of a rule", {"pools": [_POOL], "pooledRule": "rpm"}, ""),
        ("pools of no rule", {"pools": [_POOL], "pooledRule": "rpd"}, "pools need one rule to share"),
        ("pools without a rule to share", {"rules": [], "pools": [_POOL]}, "pools need one rule to share"),
        ("a pooled rule without pools", {"pooledRule": "rpm"}, "pooledRule needs pools"),
        ("two pools of a name", {"pools": [_POOL, {"name": "chat"}]}, "pool names must be unique within the policy"),
        (
            "pools that keep too much",
            {"pools": [_POOL, {"name": "docs", "minReservation": 51}]},
            "the minReservations of all pools must not be above 100 together",
        ),
        (
            "a pool with a low maximum",
            {"pools": [{**_POOL, "maxReservation": 40}]},
            "maxReservation must not be below minReservation",
        ),
        (
            "a lifetime that slides",
            {"rules": [{**_TOKENS, "window": "lifetime", "algorithm": "Sliding"}]},
            "window lifetime is for algorithm Fixed, without timeZone",
        ),
        ("a lifetime", {"rules": [{**_TOKENS, "window": "lifetime", "refusalStatus": 402}]}, ""),
    )
)

READ: Sequence[Case] = (*OURS, *THINKING, *LIMITS, *POOLS)
