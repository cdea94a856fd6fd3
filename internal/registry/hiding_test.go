package registry_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// failures are what a port scan tells apart.
var failures = map[string]error{
	"closed":                     &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
	"filtered":                   &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
	"no route":                   &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH},
	"no such name":               &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}},
	"TLS with another authority": &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
	"TLS for another name":       &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}},
	"TLS that fails":             tls.AlertError(40),
	"plain HTTP":                 tls.RecordHeaderError{RecordHeader: [5]byte([]byte("HTTP/"))}, // net/http says ErrSchemeMismatch
	"another protocol":           tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
	"hangs up":                   io.EOF,
	"resets":                     &net.OpError{Op: "read", Err: syscall.ECONNRESET},
}

// failsAt is the option of a wire where requests to a host fail in one way.
func failsAt(host string, err error) func(*registry.Options) {
	return func(options *registry.Options) {
		options.Clock = clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
		options.Around = func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(request *http.Request) (*http.Response, error) {
				if request.URL.Host == host {
					return nil, err
				}
				return next.RoundTrip(request)
			})
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// told is all that a Tag's status says of six attempts.
func told(t *testing.T, client *registry.Client, from string) string {
	t.Helper()
	var all []string
	for range 6 {
		got := failure(t, client, from, anonymous)
		all = append(all, fmt.Sprint(got.Reason(), got.RetryAfter(), got.Terminal(), " ", got))
	}
	return strings.Join(all, "\n")
}

// TestHiding_PrivateHosts: one reason and one text, whatever happened.
func TestHiding_PrivateHosts(t *testing.T) {
	for _, host := range []string{
		"10.20.30.40:5000", "172.16.0.1:22", "192.168.1.1", "100.64.0.1:443", "[fd12::1]:5000", "[64:ff9b::a00:1]:5000",
		"etcd.kube-system.svc.cluster.local:2379", "db.svc:5432", "registry:5000",
	} {
		texts := map[string]string{}
		for name, err := range failures {
			client := newClient(t, nil, failsAt(host, err))
			texts[told(t, client, host+"/team/app")] = name
			got := failure(t, client, host+"/team/app", anonymous)
			if got.Reason() != v1.ReasonUnavailable || !strings.Contains(got.Error(), host+" cannot be reached; ") || got.Detail() == "" || !isPrintable(got.Detail()) {
				t.Errorf("%s, %s: %s %v (%s)", host, name, got.Reason(), got, got.Detail())
			}
		}
		if len(texts) != 1 {
			t.Errorf("%s: the texts differ: %v", host, texts)
		}
	}
}

// TestTheTextsOfOtherHostsStayExact: those of public ones, and of those that the administrator lists. What a status must not
// tell of the others is in the log. Only what answers in plain HTTP needs it, though go-containerregistry tries it at any
// private address.
func TestTheTextsOfOtherHostsStayExact(t *testing.T) {
	const public = "203.0.113.7:5000"
	texts := map[string]bool{}
	for name, err := range failures {
		exact := failure(t, newClient(t, nil, failsAt(public, err)), public+"/team/app", anonymous)
		texts[exact.Error()] = true
		if refused := exact.Reason() == v1.ReasonRefusedByPolicy; refused != (name == "plain HTTP") || refused != exact.Terminal() || exact.Detail() != "" {
			t.Errorf("%s: %s, for ever %t: %v (%s)", name, exact.Reason(), exact.Terminal(), exact, exact.Detail())
		}
		for _, host := range []string{"registry.example.com", "10.20.30.40:5000", "registry:5000", "registry.corp.local"} {
			want := strings.ReplaceAll(exact.Error(), public, host)
			got := failure(t, newClient(t, nil, failsAt(host, err), listing(t, host)), host+"/team/app", anonymous)
			if got.Reason() != exact.Reason() || got.Error() != want || got.Detail() != "" {
				t.Errorf("%s, listed, %s: %s %v (%s), want %s %s", host, name, got.Reason(), got, got.Detail(), exact.Reason(), want)
			}
			if host == "registry.example.com" {
				continue // public names have no detail
			}
			if got := failure(t, newClient(t, nil, failsAt(host, err)), host+"/team/app", anonymous).Detail(); got != want {
				t.Errorf("%s, %s: the log says %q, want %q", host, name, got, want)
			}
		}
	}
	if len(texts) < 6 {
		t.Errorf("only %d texts: %v", len(texts), texts)
	}
}

// TestARegistryDoesNotScanByRedirects, nor by naming a token service.
func TestARegistryDoesNotScanByRedirects(t *testing.T) {
	const target = "10.20.30.40:8443"
	for way, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+target+r.URL.Path, http.StatusTemporaryRedirect)
		},
		"a token service": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+target+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		texts := map[string]string{}
		u := registrytest.NewUpstream(t, answersWith(answer))
		for name, err := range failures {
			texts[told(t, newClient(t, u, failsAt(target, err)), u.Host()+"/team/app")] = name
		}
		if len(texts) != 1 {
			t.Errorf("%s: the texts differ: %v", way, texts)
		}
	}
}

// TestHiding_NamesOfPrivateAddresses: what counts is what is connected to.
func TestHiding_NamesOfPrivateAddresses(t *testing.T) {
	for address, isHidden := range map[string]bool{"10.20.30.40": true, "100.64.0.9": true, "192.0.2.1": false} {
		resolver := nameserver(t, func(int) []netip.Addr { return []netip.Addr{netip.MustParseAddr(address)} })
		for _, err := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH} {
			client := newClient(t, nil, dialing(resolver, func(string, string, syscall.RawConn) error { return err }))
			got := failure(t, client, "internal.example.com/team/app", anonymous)
			if hides := got.Detail() != "" && !strings.Contains(got.Error(), "refuses"); hides != isHidden || got.Reason() != v1.ReasonUnavailable {
				t.Errorf("%s: %s %v (%s)", address, got.Reason(), got, got.Detail())
			}
			if errors.Is(err, syscall.ECONNREFUSED) && isHidden && !strings.Contains(got.Detail(), "refuses connections") {
				t.Errorf("the log says %q", got.Detail())
			}
		}
	}
}
