package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"

	"github.com/images-io/tagger/test/cluster"
)

func TestRegistryKeepsAndDeletesImages(t *testing.T) {
	r := startRegistry(t, cluster.RegistryOptions{Dir: t.TempDir() + "/with a space"})
	ref := r.Address + "/team/app:latest"

	first, again, second := push(t, ref, "one"), push(t, ref, "one"), push(t, ref, "two")
	if first != again || first == second {
		t.Errorf("digests of the same content %s and %s, of other content %s", first, again, second)
	}
	if digest, err := crane.Digest(ref); err != nil || digest != second {
		t.Errorf("the tag is at %s (%v), want %s", digest, err, second)
	}
	if err := crane.Delete(r.Address + "/team/app@" + second); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := crane.Digest(ref); err == nil {
		t.Error("a deleted image is still there")
	}
}

func TestRegistryAsksForItsPassword(t *testing.T) {
	r := startRegistry(t, cluster.RegistryOptions{Dir: t.TempDir(), Username: "robot", Password: "secret"})
	ref := r.Address + "/team/app:latest"

	if _, err := cluster.PushImage(t.Context(), ref, "one"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("push without a password: %v", err)
	}
	push(t, ref, "one", crane.WithAuth(&authn.Basic{Username: "robot", Password: "secret"}))
}

func TestRegistryServesTLS(t *testing.T) {
	cert, err := cluster.NewServingCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := startRegistry(t, cluster.RegistryOptions{Dir: t.TempDir(), TLS: cert})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert.CA)
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	push(t, r.Address+"/team/app:latest", "one", crane.WithTransport(trusting))
}

func startRegistry(t *testing.T, options cluster.RegistryOptions) *cluster.Registry {
	t.Helper()
	r, err := cluster.StartRegistry(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Errorf("stop the registry: %v", err)
		}
	})
	return r
}

func push(t *testing.T, ref, content string, options ...crane.Option) string {
	t.Helper()
	digest, err := cluster.PushImage(t.Context(), ref, content, options...)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}
