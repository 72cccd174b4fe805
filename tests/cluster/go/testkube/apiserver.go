package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const (
	apiStartTimeout = time.Minute
	apiStopTimeout  = 5 * time.Second
)

// Admission that waits for a kubelet, a quota controller or a scheduler that is not here.
var withoutAdmission = []string{
	"ServiceAccount", "DefaultStorageClass", "StorageObjectInUseProtection", "ResourceQuota", "LimitRanger", "PodSecurity",
	"RuntimeClass", "DefaultIngressClass", "TaintNodesByCondition", "Priority",
}

// apiServer is a kube-apiserver that serves.
type apiServer struct {
	url      string
	loopback *rest.Config
	stopped  chan error
}

// startAPIServer returns once the server is ready and has made the default namespace.
func startAPIServer(ctx context.Context, etcdAddress string, keys credentials, extraFlags []string) (*apiServer, error) {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	// The socket is bound here and handed over, so nobody can take the port in between.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	settings, err := parseFlags(append(serverFlags(etcdAddress, port, keys), extraFlags...))
	if err != nil {
		return nil, err
	}
	settings.SecureServing.Listener = listener
	if err := settings.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	completed, err := settings.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if problems := completed.Validate(); len(problems) > 0 {
		return nil, utilerrors.NewAggregate(problems)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, err
	}
	completedConfig, err := config.Complete()
	if err != nil {
		return nil, err
	}
	chain, err := app.CreateServerChain(completedConfig)
	if err != nil {
		return nil, err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, err
	}
	server := &apiServer{
		url:      "https://" + listener.Addr().String(),
		loopback: chain.GenericAPIServer.LoopbackClientConfig,
		stopped:  make(chan error, 1),
	}
	go func() { server.stopped <- prepared.Run(ctx) }()
	return server, server.waitReady(ctx)
}

func parseFlags(arguments []string) (*options.ServerRunOptions, error) {
	settings := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, group := range settings.Flags().FlagSets {
		flags.AddFlagSet(group)
	}
	return settings, flags.Parse(arguments)
}

func serverFlags(etcdAddress string, port int, keys credentials) []string {
	return []string{
		"--etcd-servers=http://" + etcdAddress,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + keys.path("server.crt"),
		"--tls-private-key-file=" + keys.path("server.key"),
		"--client-ca-file=" + keys.path("ca.crt"),
		"--token-auth-file=" + keys.path("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + keys.path("service-accounts.key"),
		"--service-account-signing-key-file=" + keys.path("service-accounts.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=RBAC",
		"--endpoint-reconciler-type=none",
		"--enable-priority-and-fairness=false",
		"--disable-admission-plugins=" + strings.Join(withoutAdmission, ","),
	}
}

func (s *apiServer) waitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(s.loopback)
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, apiStartTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-s.stopped:
			return false, fmt.Errorf("stopped before it was ready: %w", err)
		default:
		}
		status := 0
		client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
		if status != 200 {
			return false, nil
		}
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err == nil, nil
	})
}

// wait returns when the server has stopped, and gives it a few seconds once ctx has ended.
func (s *apiServer) wait(ctx context.Context) error {
	select {
	case err := <-s.stopped:
		return err
	case <-ctx.Done():
	}
	select {
	case <-s.stopped:
	case <-time.After(apiStopTimeout):
	}
	return nil
}
