//go:build !race

package registry_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/images-io/tagger/internal/registry/registrytest"
)

// TestAHostileRegistryCostsLittleMemory is not for the race detector, whose own memory would count (make test-faults).
// The peak of the resident memory counts, not what is left in the end: the peak is what a container is killed for. Linux
// keeps it, and lets a process begin anew (proc(5), clear_refs).
func TestAHostileRegistryCostsLittleMemory(t *testing.T) {
	all := attacks()
	costsLittle(t, func() {
		for _, attack := range all {
			attack.run(t)
		}
	})
}

// TestHostilityOfManyCostsLittleMemory: what is remembered of answers, and of how hosts want to be asked, is not for hosts to
// choose the size of.
func TestHostilityOfManyCostsLittleMemory(t *testing.T) {
	errors := `{"errors":[` + strings.Repeat(`{"detail":[{"":0}]},`, 3000) + `{}]}`
	talkative := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, errors)
		})
	})
	var challenge strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&challenge, ",a%d=b", i)
	}
	particular := make([]*registrytest.Upstream, 60)
	for i := range particular {
		particular[i] = registrytest.NewPlainGuarded(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/v2/":
					w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token"`+challenge.String())
					w.WriteHeader(http.StatusUnauthorized)
				case "/token":
					_, _ = io.WriteString(w, `{"token":"t"}`)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			})
		})
	}
	wordy := make([]*registrytest.Upstream, 60) // whose scheme is a long one
	for i := range wordy {
		wordy[i] = registrytest.NewPlainGuarded(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", strings.Repeat("a", 200<<10))
				w.WriteHeader(map[bool]int{true: http.StatusUnauthorized, false: http.StatusNotFound}[r.URL.Path == "/v2/"])
			})
		})
	}
	particular = append(particular, wordy...)
	client, other := newClient(t, talkative), newClient(t, nil, insecureHosts(t, particular...))
	costsLittle(t, func() {
		for i := range 300 {
			failure(t, client, fmt.Sprint(talkative.Host(), "/team/app-", i), anonymous)
		}
		for _, u := range particular {
			failure(t, other, u.Host()+"/team/app", anonymous)
		}
	})
	runtime.KeepAlive(client)
	runtime.KeepAlive(other)
}

// TestCopy_HostileCostsLittleMemory: its manifests, or what is attached to them, are as large as they may be, and what they
// have most of is small pieces, or what takes more room as it is written down.
func TestCopy_HostileCostsLittleMemory(t *testing.T) {
	var pieces strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&pieces, `"%d":"",`, i)
	}
	for name, annotations := range map[string]string{"small pieces": pieces.String(), "signs": `"sign":"` + strings.Repeat("<", 2<<20) + `",`} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, registrytest.NewPlainUpstream(t), registrytest.NewPlainUpstream(t), withAttachments)
			wordy := func(image gcr.Image) string {
				s.source.PushImage(t, "team/app", "latest", image)
				manifest, err := image.RawManifest()
				if err != nil {
					t.Fatal(err)
				}
				made := strings.Replace(string(manifest), "{", `{"annotations":{`+annotations+`"":""},`, 1)
				named := digest.FromString(made).String()
				s.source.PutManifest(t, "team/app", named, ociImage, made)
				return named
			}
			index := sizedIndexOf(t, s.source, "team/app", wordy(registrytest.Image(t, 1, 1<<8)), wordy(registrytest.Image(t, 1, 1<<8)), wordy(registrytest.Image(t, 1, 1<<8)))
			s.source.PutManifest(t, "team/app", "latest", ociIndex, index)
			order := s.order(digest.FromString(index).String())
			costsLittle(t, func() { s.copied(order) })

			small := registrytest.Image(t, 1, 1<<8)
			order = s.order(s.source.PushImage(t, "team/app", "latest", small))
			attached := sizedIndexOf(t, s.source, "team/app", wordy(attachedTo(t, small)), wordy(attachedTo(t, small)), wordy(attachedTo(t, small)))
			s.source.PutManifest(t, "team/app", tagOf(order.Digest), ociIndex, attached)
			costsLittle(t, func() { s.copied(order) })
		})
	}
}

// costsLittle fails the test where 64 MiB or more are needed.
func costsLittle(t *testing.T, do func()) {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before := resident(t, "VmRSS:")
	do()
	grown := resident(t, "VmHWM:") - before
	t.Logf("the peak is %.1f MiB above what was resident before", float64(grown)/(1<<20))
	if grown >= 64<<20 {
		t.Errorf("it grew by %d MiB, want less than 64", grown>>20)
	}
}

// resident reads a line of /proc/self/status, in bytes.
func resident(t *testing.T, line string) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), line)
	kibibytes, err := strconv.Atoi(strings.Fields(after + " ?")[0])
	if err != nil {
		t.Fatal(err)
	}
	return kibibytes << 10
}
