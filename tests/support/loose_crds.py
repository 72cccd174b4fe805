"""CRDs that take anything, for kinds whose real ones a test does not need: a status subresource, and no rules."""

from headgate.compiler.resources.kinds import KINDS
from headgate.controller.rbac import plural

from support.kube import Object

_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def loose_crds(*groups: str) -> list[Object]:
    """One for each kind of these groups that Headgate reads."""
    return [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural(kind)}.{kind.group}"},
            "spec": {
                "group": kind.group,
                "scope": "Namespaced" if kind.namespaced else "Cluster",
                "names": {"kind": kind.name, "plural": plural(kind), "singular": kind.name.lower()},
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": number == 0,
                        "schema": {"openAPIV3Schema": _ANYTHING},
                        "subresources": {"status": {}},
                    }
                    for number, version in enumerate(kind.served)
                ],
            },
        }
        for kind in KINDS
        if kind.group in groups
    ]
