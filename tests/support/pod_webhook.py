"""The configuration by which a real API server asks our webhook about pods."""

from support.kube import Kube, Object, reference
from support.ports import LOOPBACK

ADMISSION = "admissionregistration.k8s.io/v1"


async def install_webhook(kube: Kube, namespace: str, port: int) -> Object:
    """For pods of a namespace, as the chart writes it, with a port on this machine in place of the Service."""
    item: Object = {
        **reference(ADMISSION, "MutatingWebhookConfiguration", f"headgate-pods.{namespace}"),
        "webhooks": [
            {
                "name": "pods.headgate.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "clientConfig": {"url": f"https://{LOOPBACK}:{port}/mutate"},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {
                    "matchLabels": {"app.kubernetes.io/managed-by": "envoy-gateway"},
                    "matchExpressions": [
                        {"key": "gateway.envoyproxy.io/owning-gateway-name", "operator": "Exists"},
                    ],
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }
        ],
    }
    return await kube.create(item)
