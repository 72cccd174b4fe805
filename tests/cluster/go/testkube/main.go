// testkube is a Kubernetes API for tests: etcd, kube-apiserver and a few controllers in one process on loopback.
//
//	testkube --dir FOLDER [--controllers gc,namespace,...] [-- kube-apiserver flags]
//
// Once it serves it prints one line, "READY " and a JSON object with the server's URL, its CA file, a token of an
// administrator and a kubeconfig file. It ends with its standard input, so it never outlives the process that started it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// access is what a client needs to know.
type access struct {
	Server     string `json:"server"`
	CA         string `json:"ca"`
	Token      string `json:"token"`
	Kubeconfig string `json:"kubeconfig"`
}

func main() {
	dir := flag.String("dir", "", "an existing folder for etcd's data, keys and the kubeconfig")
	controllers := flag.String("controllers", "gc,namespace", "any of "+strings.Join(controllerNames(), ", "))
	podIP := flag.String("pod-ip", "192.0.2.1", "the address that podready gives to pods")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := run(ctx, *dir, splitList(*controllers), *podIP, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "testkube:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, controllers []string, podIP string, extraFlags []string) error {
	keys, err := issueCredentials(dir)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	database, err := startEtcd(dir)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer database.Close()

	api, err := startAPIServer(ctx, database.Clients[0].Addr().String(), keys, extraFlags)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if err := startControllers(ctx, api.loopback, controllers, podIP); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	kubeconfig, err := keys.writeKubeconfig(api.url)
	if err != nil {
		return err
	}
	ready, err := json.Marshal(access{Server: api.url, CA: keys.path("ca.crt"), Token: keys.token, Kubeconfig: kubeconfig})
	if err != nil {
		return err
	}
	fmt.Printf("READY %s\n", ready)
	return api.wait(ctx)
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
