package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// credentials are the files that a server needs, in one folder: ca.crt, server.crt, server.key, service-accounts.key
// and tokens.csv, which makes the holder of token an administrator.
type credentials struct {
	dir   string
	token string
}

func (c credentials) path(name string) string { return filepath.Join(c.dir, name) }

func issueCredentials(dir string) (credentials, error) {
	issued := credentials{dir: dir, token: rand.Text()}
	authority, err := newKey()
	if err != nil {
		return issued, err
	}
	server, err := newKey()
	if err != nil {
		return issued, err
	}
	serviceAccounts, err := newKey()
	if err != nil {
		return issued, err
	}
	root := certificate(1, "testkube")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf := certificate(2, "kube-apiserver")
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}
	leaf.DNSNames = []string{"localhost", "kubernetes.default.svc"}

	for _, write := range []func() error{
		func() error { return issued.writeCertificate("ca.crt", root, root, authority.Public(), authority) },
		func() error { return issued.writeCertificate("server.crt", leaf, root, server.Public(), authority) },
		func() error { return issued.writeKey("server.key", server) },
		func() error { return issued.writeKey("service-accounts.key", serviceAccounts) },
		func() error {
			line := fmt.Sprintf("%s,admin,admin,\"system:masters\"\n", issued.token)
			return os.WriteFile(issued.path("tokens.csv"), []byte(line), 0o600)
		},
	} {
		if err := write(); err != nil {
			return issued, err
		}
	}
	return issued, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func certificate(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

func (c credentials) writeCertificate(name string, subject, issuer *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, subject, issuer, key, signer)
	if err != nil {
		return err
	}
	return c.writePEM(name, "CERTIFICATE", der)
}

func (c credentials) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return c.writePEM(name, "EC PRIVATE KEY", der)
}

func (c credentials) writePEM(name, kind string, der []byte) error {
	return os.WriteFile(c.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeKubeconfig writes an administrator's kubeconfig and returns its path.
func (c credentials) writeKubeconfig(server string) (string, error) {
	authority, err := os.ReadFile(c.path("ca.crt"))
	if err != nil {
		return "", err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["testkube"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: authority}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: c.token}
	config.Contexts["testkube"] = &clientcmdapi.Context{Cluster: "testkube", AuthInfo: "admin", Namespace: "default"}
	config.CurrentContext = "testkube"
	path := c.path("kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}
