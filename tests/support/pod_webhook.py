"""The configuration by which a real API server asks our webhook about pods."""

from headgate.compiler.envoy_gateway.sidecar import ADMIN_PORT, CONTAINER, SOCKET

from support.kube import Kube, Object, reference, unique_name
from support.ports import LOOPBACK, free_port

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
                    "matchLabels": {
                        "app.kubernetes.io/managed-by": "envoy-gateway",
                        "app.kubernetes.io/component": "proxy",
                    }
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }
        ],
    }
    return await kube.create(item)


async def trusted_webhook(kube: Kube, namespace: str) -> None:
    """Until the API server trusts the webhook that `install_webhook` made."""
    made = reference(ADMISSION, "MutatingWebhookConfiguration", f"headgate-pods.{namespace}")
    await kube.wait_for(made, lambda found: bool(found["webhooks"][0]["clientConfig"].get("caBundle")), "the caBundle")


async def admitted_pod(kube: Kube, deployment: Object) -> Object:
    """A pod of a Deployment, created as a ReplicaSet does."""
    template, namespace = deployment["spec"]["template"], deployment["metadata"]["namespace"]
    pod = reference("v1", "Pod", unique_name("pod"), namespace)
    return await kube.create({**pod, "metadata": {**template["metadata"], **pod["metadata"]}, "spec": template["spec"]})


def processor_of(pod: Object) -> Object:
    """The container that the webhook put in."""
    (found,) = [each for each in pod["spec"]["initContainers"] if each["name"] == CONTAINER]
    return found


def processor_arguments(container: Object, socket: object) -> list[str]:
    """The container's, with a socket of the test's and a port that nobody has."""
    return [each.replace(SOCKET, str(socket)).replace(str(ADMIN_PORT), str(free_port())) for each in container["args"]]
