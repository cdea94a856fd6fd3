package registry_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// trap is a service on all addresses of this machine that the client must not connect to.
type trap struct {
	port     string
	accepted atomic.Int32
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	caught := &trap{port: port}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			caught.accepted.Add(1)
			connection.Close()
		}
	}()
	return caught
}

// dials notes every address that a connection is made to, and lets no packet leave this machine.
type dials struct {
	mutex sync.Mutex
	to    map[string]int
}

func (d *dials) control(_, address string, _ syscall.RawConn) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.to == nil {
		d.to = map[string]int{}
	}
	d.to[address]++
	if found, err := netip.ParseAddrPort(address); err != nil || !found.Addr().IsLoopback() {
		return syscall.ECONNREFUSED
	}
	return nil
}

// only fails the test when there was a connection to anything else.
func (d *dials) only(t *testing.T, allowed ...string) {
	t.Helper()
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for address := range d.to {
		if !strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+address+" ") {
			t.Errorf("a connection was made to %s", address)
		}
	}
}

// forbidden are spellings of what no registry is at.
var forbidden = []string{
	"127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "0127.0.0.1", "017700000001",
	"[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "0.0.0.0", "[::]",
	"localhost", "LOCALHOST", "localhost.", "registry.localhost",
	"169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]",
	"100.100.100.200", "metadata.google.internal", "224.0.0.1", "255.255.255.255",
}

func TestWhatNoRegistryIsAtIsNeverConnectedTo(t *testing.T) {
	caught := newTrap(t)
	for way, lead := range map[string]func(target string) func(http.Handler) http.Handler{
		"a redirect of the question": func(target string) func(http.Handler) http.Handler {
			return answersWith(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://"+target+"/v2/team/app/manifests/latest", http.StatusTemporaryRedirect)
			})
		},
		"a redirect of the greeting": func(target string) func(http.Handler) http.Handler {
			return func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "https://"+target+"/v2/", http.StatusFound)
				})
			}
		},
		"a token service": func(target string) func(http.Handler) http.Handler {
			return func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+target+`/token",service="test"`)
					w.WriteHeader(http.StatusUnauthorized)
				})
			}
		},
		"a redirect of the token service": func(target string) func(http.Handler) http.Handler {
			return func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/token" {
						http.Redirect(w, r, "https://"+target+"/token", http.StatusTemporaryRedirect)
						return
					}
					w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="test"`)
					w.WriteHeader(http.StatusUnauthorized)
				})
			}
		},
	} {
		t.Run(way, func(t *testing.T) {
			for _, host := range forbidden {
				u := registrytest.NewUpstream(t, lead(host+":"+caught.port))
				made := &dials{}
				client := newClient(t, u, dialing(nil, made.control))
				refusedAt(t, failure(t, client, u.Host()+"/team/app", as(t, u, "robot", "s3cret")), host)
				made.only(t, u.Host())
			}
		})
	}
	if count := caught.accepted.Load(); count != 0 {
		t.Errorf("%d connections arrived", count)
	}
}

// refusedAt fails the test when the failure is another than the refusal of the host.
func refusedAt(t *testing.T, got *regerr.Error, host string) {
	t.Helper()
	if got.Reason() != v1.ReasonRefusedByPolicy || !got.Terminal() || !strings.Contains(got.Error(), "registries.conf") || !isPrintable(got.Error()) {
		t.Errorf("%s: %s %v", host, got.Reason(), got)
	}
}

func TestASourceWhereNoRegistryIsIsRefused(t *testing.T) {
	caught := newTrap(t)
	made := &dials{}
	client := newClient(t, nil, dialing(nil, made.control))
	for _, host := range forbidden {
		from := host + ":" + caught.port + "/team/app"
		if _, err := reference.Parse(from, ""); err != nil {
			continue // no reference at all
		}
		if got := failure(t, client, from, anonymous); got.Reason() != v1.ReasonInvalidReference {
			refusedAt(t, got, host)
		}
	}
	made.only(t)
	if count := caught.accepted.Load(); count != 0 {
		t.Errorf("%d connections arrived", count)
	}
}

func TestDialGuard_HidesListeners(t *testing.T) {
	caught := newTrap(t)
	gone := registrytest.NewUpstream(t, nil)
	gone.Close()
	_, closed, _ := net.SplitHostPort(gone.Host())
	client := newClient(t, nil)
	texts := map[string]bool{}
	for _, port := range []string{caught.port, closed} {
		texts[strings.ReplaceAll(failure(t, client, "127.0.0.1:"+port+"/team/app", anonymous).Error(), port, "PORT")] = true
	}
	if len(texts) != 1 {
		t.Errorf("the texts differ: %v", texts)
	}
}

// nameserver is a real one, on loopback, that answers every question for an IPv4 address.
func nameserver(t *testing.T, answer func(question int) []netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buffer, questions := make([]byte, 1500), 0
		for {
			count, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if err := message.Unpack(buffer[:count]); err != nil || len(message.Questions) == 0 {
				continue
			}
			message.Response, message.Authoritative, message.Additionals = true, true, nil
			if question := message.Questions[0]; question.Type == dnsmessage.TypeA {
				for _, address := range answer(questions) {
					message.Answers = append(message.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: address.As4()},
					})
				}
				questions++
			}
			if packed, err := message.Pack(); err == nil {
				_, _ = server.WriteTo(packed, from)
			}
		}
	}()
	var dialer net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	public   = netip.MustParseAddr("192.0.2.1") // RFC 5737; no packet goes there
)

func TestDialGuard_ChangedName(t *testing.T) {
	caught := newTrap(t)
	made := &dials{}
	resolver := nameserver(t, func(question int) []netip.Addr {
		return []netip.Addr{[]netip.Addr{public, loopback}[question%2]}
	})
	client := newClient(t, nil, dialing(resolver, made.control))
	reasons := map[v1.Reason]int{}
	for range 20 {
		reasons[failure(t, client, "rebinding.example.com:"+caught.port+"/team/app", anonymous).Reason()]++
	}
	if reasons[v1.ReasonUnavailable] == 0 || reasons[v1.ReasonRefusedByPolicy] == 0 || len(reasons) != 2 {
		t.Errorf("the reasons are %v", reasons)
	}
	made.only(t, "192.0.2.1:"+caught.port)
	if count := caught.accepted.Load(); count != 0 {
		t.Errorf("%d connections arrived", count)
	}
}

func TestDialGuard_NameWithTwoAddresses(t *testing.T) {
	caught := newTrap(t)
	made := &dials{}
	resolver := nameserver(t, func(int) []netip.Addr { return []netip.Addr{loopback, public} })
	client := newClient(t, nil, dialing(resolver, made.control))
	failure(t, client, "both.example.com:"+caught.port+"/team/app", anonymous)
	made.only(t, "192.0.2.1:"+caught.port)
	if count := caught.accepted.Load(); count != 0 {
		t.Errorf("%d connections arrived", count)
	}
}

func TestDialGuard_ExceptionIsByName(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	want := u.Push(t, "team/app", "latest", "one")
	_, port, _ := net.SplitHostPort(u.Host())
	resolver := nameserver(t, func(int) []netip.Addr { return []netip.Addr{loopback} })
	asked := "registry.example.com:" + port
	for _, row := range []struct {
		name, conf, from string
		refused          bool
	}{
		{name: "a location", conf: registrytest.Listed(asked), from: asked},
		{name: "in capitals", conf: registrytest.Listed(strings.ToUpper(asked)), from: asked},
		{name: "a path of it", conf: registrytest.Listed(asked + "/team"), from: asked},
		{name: "a mirror", conf: fmt.Sprintf("[[registry]]\nlocation = \"quay.io\"\n[[registry.mirror]]\nlocation = %q\n", asked), from: "quay.io"},
		{name: "the host of a prefix", conf: fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = \"registry.invalid\"\n", asked+"/other"), from: asked},
		{name: "nothing", from: asked, refused: true},
		{name: "another port", conf: registrytest.Listed("registry.example.com:1"), from: asked, refused: true},
		{name: "the name without its port, which means 443", conf: registrytest.Listed("registry.example.com"), from: asked, refused: true},
		{name: "another name of the address", conf: registrytest.Listed("other.example.com:" + port), from: asked, refused: true},
		{name: "the address, asked for by name", conf: registrytest.Listed(u.Host()), from: asked, refused: true},
		{name: "the name, asked for by address", conf: registrytest.Listed(asked), from: u.Host(), refused: true},
		{name: "a wildcard", conf: "[[registry]]\nprefix = \"*.example.com\"\n", from: asked, refused: true},
		{name: "blocked elsewhere in it", conf: fmt.Sprintf("[[registry]]\nlocation = %q\nblocked = true\n", asked+"/other"), from: asked, refused: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			u.ClearLog()
			client := newClient(t, u, dialing(resolver, nil), configuredBy(t, "%s", row.conf))
			if !row.refused {
				resolved(t, client, row.from+"/team/app", anonymous, want)
				return
			}
			refusedAt(t, failure(t, client, row.from+"/team/app", anonymous), row.from)
			if count := u.Count("", ""); count != 0 {
				t.Errorf("%d requests arrived", count)
			}
		})
	}
}

func TestDialGuard_RemovedHostKeptConnection(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	want := u.Push(t, "team/app", "latest", "one")
	_, port, _ := net.SplitHostPort(u.Host())
	from := "registry.example.com:" + port
	content := registrytest.Listed(from)
	c := newConf(t, &content)
	client := newClient(t, u, dialing(nameserver(t, func(int) []netip.Addr { return []netip.Addr{loopback} }), nil),
		func(options *registry.Options) { options.Configuration = c.Config })
	told := make(chan struct{}, 100)
	c.OnChange(func() { told <- struct{}{} })
	resolved(t, client, from+"/team/app", anonymous, want)
	u.ClearLog()
	c.write(t, registrytest.Listed("quay.io"))
	c.tick()
	<-told
	refusedAt(t, failure(t, client, from+"/team/app", anonymous), from)
	if count := u.Count("", ""); count != 0 {
		t.Errorf("%d requests arrived", count)
	}
}
