package main

import (
	"errors"
	"net/url"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

const etcdStartTimeout = 30 * time.Second

// startEtcd runs a single etcd member on free loopback ports. It keeps nothing safe from a power cut: the data is a test's.
func startEtcd(dir string) (*embed.Etcd, error) {
	wal.SegmentSizeBytes = 8 << 20 // etcd would lay out 64 MiB twice before it starts

	config := embed.NewConfig()
	config.Dir = filepath.Join(dir, "etcd")
	config.LogLevel = "error"
	config.LogOutputs = []string{"stderr"}
	config.UnsafeNoFsync = true
	config.TickMs, config.ElectionMs = 10, 100 // a single member waits for nobody's vote
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.ListenPeerUrls, config.AdvertisePeerUrls = anyPort, anyPort
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	member, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-member.Server.ReadyNotify():
		return member, nil
	case <-time.After(etcdStartTimeout):
		member.Close()
		return nil, errors.New("not ready within 30 s")
	}
}
