package registry_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

const (
	ociIndex = "application/vnd.oci.image.index.v1+json"
	ociImage = "application/vnd.oci.image.manifest.v1+json"
	// huge is what a hostile registry sends, in bytes.
	huge = 100 << 20
)

// indexOf is an index of these children, all of one type.
func indexOf(kind string, children ...string) string {
	entries := make([]string, len(children))
	for i, child := range children {
		entries[i] = fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, kind, child)
	}
	return `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + strings.Join(entries, ",") + `]}`
}

// manifests is a registry without digests in its answers, so that everything has to be read; from tag or digest to content.
func manifests(byTag string, others ...string) http.HandlerFunc {
	byDigest := map[string]string{}
	for _, content := range others {
		byDigest[digest.FromString(content).String()] = content
	}
	return func(w http.ResponseWriter, r *http.Request) {
		_, identifier, _ := strings.Cut(r.URL.Path, "/manifests/")
		content, known := byDigest[identifier]
		if !known {
			content = byTag
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, content)
		}
	}
}

// streams sends zeros, or whatever the filler is, without end.
func streams(w io.Writer, filler []byte) {
	for sent := 0; sent < huge; sent += len(filler) {
		if _, err := w.Write(filler); err != nil {
			return
		}
	}
}

func digests(count int) []string {
	made := make([]string, count)
	for i := range made {
		made[i] = digest.FromString(strconv.Itoa(i)).String()
	}
	return made
}

// attacks are what a hostile registry answers, and what must come of it.
func attacks() []attack {
	zeros := make([]byte, 32<<10)
	image := `{"schemaVersion":2,"mediaType":"` + ociImage + `","layers":[]}`
	inner := indexOf(ociImage, digests(2)...)
	middle := indexOf(ociIndex, digest.FromString(inner).String())
	outer := indexOf(ociIndex, digest.FromString(middle).String())
	itself := indexOf(ociIndex, digest.FromString("there is no such thing as its own digest").String())
	return []attack{
		{name: "a manifest of 100 MB, announced to a HEAD", reason: v1.ReasonInvalidContent, text: "larger than the 4 MiB", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(huge))
			w.Header().Set("Docker-Content-Digest", digest.FromString(image).String())
		}},
		{name: "a manifest of 100 MB, announced to a GET", reason: v1.ReasonInvalidContent, text: "larger than the 4 MiB", gets: 1, answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Length", strconv.Itoa(huge))
				streams(w, zeros)
			}
		}},
		{name: "a manifest of 100 MB, not announced", reason: v1.ReasonInvalidContent, text: "larger than the 4 MiB", gets: 1, answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				streams(w, bytes.Repeat([]byte(" "), 32<<10))
			}
		}},
		{name: "a gzip bomb", reason: v1.ReasonInvalidContent, text: "is compressed", gets: 1, answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Encoding", "gzip")
				compressed := gzip.NewWriter(w)
				streams(compressed, zeros)
				_ = compressed.Close()
			}
		}},
		{name: "an index of 64", gets: 1, answer: manifests(indexOf(ociImage, digests(64)...))},
		{name: "an index of 65", reason: v1.ReasonInvalidContent, text: "more than 64 manifests", gets: 1, answer: manifests(indexOf(ociImage, digests(65)...))},
		{name: "an index of 10,000", reason: v1.ReasonInvalidContent, text: "more than 64 manifests", gets: 1, answer: manifests(indexOf(ociImage, digests(10_000)...))},
		{name: "an index of a million of nothing", reason: v1.ReasonInvalidContent, text: "no image manifest", gets: 1, answer: manifests(`{"schemaVersion":2,"manifests":[{}` + strings.Repeat(",{}", 1_000_000) + `]}`)},
		{name: "an index of a million that are the same", reason: v1.ReasonInvalidContent, text: "more than 64 manifests", gets: 1, answer: manifests(indexOf("", strings.Split(strings.Repeat(digests(1)[0]+" ", 30_000), " ")[:30_000]...))},
		{name: "an index that is in itself", reason: v1.ReasonInvalidContent, text: "does not have the digest", gets: 2, answer: manifests(itself)},
		{name: "indexes in one another, two", gets: 2, answer: manifests(middle, inner)},
		{name: "indexes in one another, three", reason: v1.ReasonInvalidContent, text: "more than 2 indexes in one another", gets: 2, answer: manifests(outer, middle, inner)},
		{name: "an index with the same index twice", gets: 2, answer: manifests(indexOf(ociIndex, digest.FromString(inner).String(), digest.FromString(inner).String()), inner)},
		{name: "an index of an index of 10,000", reason: v1.ReasonInvalidContent, text: "more than 64 manifests", gets: 2, answer: func() http.HandlerFunc {
			crowd := indexOf(ociImage, digests(10_000)...)
			return manifests(indexOf(ociIndex, digest.FromString(crowd).String()), crowd)
		}()},
		{name: "an index with a path for a digest", reason: v1.ReasonInvalidContent, text: "no image manifest", gets: 1, answer: manifests(indexOf(ociIndex, "../../../../secret"))},
		{name: "brackets without end", reason: v1.ReasonInvalidContent, text: "no image manifest", gets: 1, answer: manifests(`{"schemaVersion":2,"manifests":` + strings.Repeat("[", 4_000_000))},
		{name: "a list of manifests that is none", reason: v1.ReasonInvalidContent, text: "no image manifest", gets: 1, answer: manifests(`{"schemaVersion":2,"manifests":"many"}`)},
		{name: "an error of 100 MB", reason: v1.ReasonUnavailable, text: "answered 500", answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.WriteHeader(http.StatusInternalServerError)
				streams(w, zeros)
				return
			}
			w.WriteHeader(http.StatusMethodNotAllowed)
		}, gets: 1},
	}
}

// attack is one of them. No reason means that it is none: the digest is found.
type attack struct {
	name   string
	answer http.HandlerFunc
	reason v1.Reason
	text   string
	// gets are the manifests that may be read.
	gets int
}

func (a attack) run(t *testing.T) {
	t.Helper()
	u := registrytest.NewUpstream(t, answersWith(a.answer))
	got, err := resolve(t, newClient(t, u), u.Host()+"/team/app", anonymous)
	if count := u.Count(http.MethodGet, "/manifests/"); count != a.gets {
		t.Errorf("%d manifests were read, want %d", count, a.gets)
	}
	if a.reason == "" {
		if err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		return
	}
	typed, ok := err.(*regerr.Error) //nolint:errorlint // Resolve promises this type itself
	if !ok || typed.Reason() != a.reason || !strings.Contains(typed.Error(), a.text) || !isPrintable(typed.Error()) {
		t.Errorf("got %q, %v; want %s with %q", got, err, a.reason, a.text)
	}
}

func TestAHostileRegistryIsATypedReason(t *testing.T) {
	for _, attack := range attacks() {
		t.Run(attack.name, attack.run)
	}
}

func TestResolve_SlowIsUnavailable(t *testing.T) {
	const short, long = 200 * time.Millisecond, time.Minute
	waits := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	drips := func(every time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				return
			}
			for {
				_, _ = io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(every):
				}
			}
		}
	}
	for _, row := range []struct {
		name                    string
		answer                  http.HandlerFunc
		requests, header, stall time.Duration
		text                    string
	}{
		{name: "a header that never comes", answer: waits, requests: long, header: short, stall: long, text: "does not answer in time"},
		{name: "a body that stops", answer: drips(long), requests: long, header: long, stall: short, text: "stopped in the middle of an answer"},
		{name: "a byte now and then, for ever", answer: drips(short / 20), requests: 5 * short, header: long, stall: long, text: "does not answer in time"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, answersWith(row.answer))
			began := time.Now()
			got := failure(t, newClient(t, u, waiting(row.requests, row.header, row.stall)), u.Host()+"/team/app", anonymous)
			if got.Reason() != v1.ReasonUnavailable || got.Terminal() || !strings.Contains(got.Error(), row.text) {
				t.Errorf("%s %v, want %q", got.Reason(), got, row.text)
			}
			if took := time.Since(began); took > long/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
}
