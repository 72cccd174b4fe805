package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

// environment is what a controller is made from.
type environment struct {
	config   *rest.Config
	client   kubernetes.Interface
	metadata metadata.Interface
	shared   informers.SharedInformerFactory
	started  chan struct{} // closed once the shared informers run
	podIP    string
}

// A loop runs until its context ends.
type loop func(context.Context)

// The controllers by name. They are Kubernetes' own, started one by one: the whole controller manager would cost two
// minutes of compilation, and its garbage collector looks for new custom resources only every 30 s.
var controllers = map[string]func(context.Context, environment) ([]loop, error){
	"gc":             newGarbageCollector,
	"namespace":      newNamespaceController,
	"serviceaccount": newServiceAccountController,
	"deployment":     newDeploymentControllers,
	"endpointslice":  newEndpointSliceController,
	"podready":       newPodReadier,
}

func controllerNames() []string { return slices.Sorted(maps.Keys(controllers)) }

func startControllers(ctx context.Context, loopback *rest.Config, names []string, podIP string) error {
	config := rest.CopyConfig(loopback)
	config.QPS, config.Burst = -1, 0
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	env := environment{
		config: config, client: client, metadata: metadataClient, podIP: podIP,
		shared: informers.NewSharedInformerFactory(client, 0), started: make(chan struct{}),
	}
	var loops []loop
	for _, name := range names {
		create, known := controllers[name]
		if !known {
			return fmt.Errorf("no controller is called %q; there are %s", name, strings.Join(controllerNames(), ", "))
		}
		created, err := create(ctx, env)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		loops = append(loops, created...)
	}
	env.shared.Start(ctx.Done())
	close(env.started)
	for _, run := range loops {
		go run(ctx)
	}
	return nil
}

func newGarbageCollector(ctx context.Context, env environment) ([]loop, error) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(env.client.Discovery()))
	every := informerfactory.NewInformerFactory(env.shared, metadatainformer.NewSharedInformerFactory(env.metadata, 0))
	collector, err := garbagecollector.NewGarbageCollector(
		ctx, env.client, env.metadata, mapper, garbagecollector.DefaultIgnoredResources(), every, env.started)
	if err != nil {
		return nil, err
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(env.config)
	if err != nil {
		return nil, err
	}
	return []loop{
		func(ctx context.Context) { collector.Run(ctx, 4, 10*time.Second) },
		func(ctx context.Context) { collector.Sync(ctx, kinds, time.Second) },
	}, nil
}

func newNamespaceController(ctx context.Context, env environment) ([]loop, error) {
	controller := namespace.NewNamespaceController(
		ctx, env.client, env.metadata, env.client.Discovery().ServerPreferredNamespacedResources,
		env.shared.Core().V1().Namespaces(), time.Minute, corev1.FinalizerKubernetes)
	return []loop{func(ctx context.Context) { controller.Run(ctx, 4) }}, nil
}

func newServiceAccountController(ctx context.Context, env environment) ([]loop, error) {
	core := env.shared.Core().V1()
	controller, err := serviceaccount.NewServiceAccountsController(
		klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), env.client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	return []loop{func(ctx context.Context) { controller.Run(ctx, 2) }}, err
}

func newDeploymentControllers(ctx context.Context, env environment) ([]loop, error) {
	apps, pods := env.shared.Apps().V1(), env.shared.Core().V1().Pods()
	deployments, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), pods, env.client)
	replicaSets := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), pods, env.client, replicaset.BurstReplicas)
	return []loop{
		func(ctx context.Context) { deployments.Run(ctx, 2) },
		func(ctx context.Context) { replicaSets.Run(ctx, 2) },
	}, err
}

func newEndpointSliceController(ctx context.Context, env environment) ([]loop, error) {
	core := env.shared.Core().V1()
	controller := endpointslice.NewController(
		ctx, core.Pods(), core.Services(), core.Nodes(), env.shared.Discovery().V1().EndpointSlices(), 100, env.client, 0)
	return []loop{func(ctx context.Context) { controller.Run(ctx, 2) }}, nil
}

// newPodReadier stands in for a scheduler and a kubelet: a pod is bound, runs and is ready at once, and a deleted one is
// gone at once.
func newPodReadier(ctx context.Context, env environment) ([]loop, error) {
	settle := func(object any) {
		pod, isPod := object.(*corev1.Pod)
		if !isPod {
			return
		}
		// A conflict means that the pod has changed: its next event brings us back here.
		if err := settlePod(ctx, env, pod); err != nil {
			klog.FromContext(ctx).V(2).Info("Pod not settled", "pod", klog.KObj(pod), "err", err)
		}
	}
	_, err := env.shared.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    settle,
		UpdateFunc: func(_, object any) { settle(object) },
	})
	return nil, err
}

func settlePod(ctx context.Context, env environment, pod *corev1.Pod) error {
	pods := env.client.CoreV1().Pods(pod.Namespace)
	switch {
	case pod.DeletionTimestamp != nil:
		now := int64(0)
		return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	case pod.Spec.NodeName == "":
		return pods.Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name},
			Target:     corev1.ObjectReference{Kind: "Node", Name: "test-node"},
		}, metav1.CreateOptions{})
	case pod.Status.Phase == corev1.PodRunning:
		return nil
	}
	running, err := json.Marshal(map[string]corev1.PodStatus{"status": {
		Phase:  corev1.PodRunning,
		PodIP:  env.podIP,
		PodIPs: []corev1.PodIP{{IP: env.podIP}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
			{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
		},
	}})
	if err != nil {
		return err
	}
	_, err = pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status")
	return err
}
