package push

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Nexus signs with HMAC-SHA1
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/images-io/tagger/test/harness"
)

// token, old and other are the present token, the previous one, and one of another sender.
const (
	token = "present-token-0123456789abcdef"
	old   = "previous-token-0123456789abcde"
	other = "another-senders-token-01234567"
)

// stage is a handler whose calls are recorded.
type stage struct {
	*Handler
	outcomes []string
	keys     []string
	tags     int
	err      error
}

func (s *stage) Notify(keys []string) (int, error) {
	s.keys = append(s.keys, keys...)
	return s.tags, s.err
}

func newStage() *stage {
	s := &stage{tags: 1}
	tokens := func(sender string) ([][]byte, bool) {
		if sender == "acr" {
			return [][]byte{[]byte(other)}, true
		}
		return [][]byte{[]byte(token), []byte(old)}, true
	}
	s.Handler = NewHandler(Senders(), tokens, s, func(sender, outcome string) { s.outcomes = append(s.outcomes, sender+" "+outcome) })
	return s
}

// send returns the response to a notification.
func (s *stage) send(method, path string, header http.Header, body []byte) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, strings.NewReader(string(body)))
	if header != nil {
		request.Header = header
	}
	response := httptest.NewRecorder()
	s.ServeHTTP(response, request)
	return response
}

func TestHandler_Proofs(t *testing.T) {
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+password))
	}
	for name, row := range map[string]struct {
		path   string
		header http.Header
		want   int
	}{
		"the token in the path":                  {path: "/quay/" + token, want: 202},
		"the previous token in the path":         {path: "/quay/" + old, want: 202},
		"the token as Authorization":             {path: "/quay", header: headers("Authorization", token), want: 202},
		"the token as Bearer":                    {path: "/quay", header: headers("Authorization", "Bearer "+token), want: 202},
		"the token as bearer, in lower case":     {path: "/quay", header: headers("Authorization", "bearer "+token), want: 202},
		"the token as password":                  {path: "/quay", header: headers("Authorization", basic(token)), want: 202},
		"the token in our own header":            {path: "/quay", header: headers("X-Tagger-Token", token), want: 202},
		"a slash after the sender":               {path: "/quay/", header: headers("X-Tagger-Token", token), want: 202},
		"one good proof of two":                  {path: "/quay/" + other, header: headers("X-Tagger-Token", token), want: 202},
		"no token":                               {path: "/quay", want: 404},
		"an empty token":                         {path: "/quay/", want: 404},
		"the token of another sender":            {path: "/quay/" + other, want: 404},
		"the start of the token":                 {path: "/quay/" + token[:29], want: 404},
		"more than the token":                    {path: "/quay/" + token + "x", want: 404},
		"a segment after the token":              {path: "/quay/" + token + "/x", want: 404},
		"a Google JWT without a token":           {path: "/gar", header: headers("Authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.x"), want: 404},
		"a signature that this sender has not":   {path: "/quay", header: headers("X-Hub-Signature-256", "sha256=00"), want: 404},
		"another sender":                         {path: "/none/" + token, want: 404},
		"the root":                               {path: "/", want: 404},
		"the token as the user, not as password": {path: "/quay", header: headers("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(token+":"))), want: 404},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage()
			body := fixture(t, "quay/push")
			response := s.send(http.MethodPost, row.path, row.header, body)
			if response.Code != row.want || (len(s.keys) > 0) != (row.want == 202) || len(s.outcomes) != 1 {
				t.Errorf("got %d, keys %v, %v", response.Code, s.keys, s.outcomes)
			}
			for _, secret := range []string{token, old, other} {
				if strings.Contains(response.Body.String(), secret) {
					t.Error("the response has a token")
				}
			}
		})
	}
}

func sign(algorithm func() hash.Hash, key, content string) string {
	mac := hmac.New(algorithm, []byte(key))
	mac.Write([]byte(content))
	return hex.EncodeToString(mac.Sum(nil))
}

func TestHandler_Signatures(t *testing.T) {
	github, gitea, nexus, artifactory := string(fixture(t, "github/published")), string(fixture(t, "gitea/created")), string(fixture(t, "nexus/created")), string(fixture(t, "artifactory/push"))
	form := url.Values{"payload": {gitea}}.Encode()
	compact, err := withoutSpace(nil, []byte(nexus))
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		path, body string
		header     http.Header
		want       int
	}{
		"GitHub":                           {"/github", github, headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256="+sign(sha256.New, token, github)), 202},
		"GitHub, with the previous token":  {"/github", github, headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256="+sign(sha256.New, old, github)), 202},
		"GitHub, with another key":         {"/github", github, headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256="+sign(sha256.New, other, github)), 404},
		"GitHub, of another body":          {"/github", github + " ", headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256="+sign(sha256.New, token, github)), 404},
		"GitHub, a bad one and the token":  {"/github/" + token, github, headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256=00"), 404},
		"GitHub, not hexadecimal":          {"/github", github, headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256=x"), 404},
		"GitHub, an empty one, the token":  {"/github/" + token, github, headers("X-GitHub-Event", "package", "X-Hub-Signature-256", ""), 202},
		"Gitea":                            {"/gitea", gitea, headers("X-Gitea-Event", "package", "X-Gitea-Signature", sign(sha256.New, token, gitea)), 202},
		"Gitea, in GitHub's header":        {"/gitea", gitea, headers("X-Gitea-Event", "package", "X-Hub-Signature-256", "sha256="+sign(sha256.New, token, gitea)), 202},
		"Gitea, a form, over its JSON":     {"/gitea", form, headers("X-Gitea-Event", "package", "Content-Type", "application/x-www-form-urlencoded", "X-Gitea-Signature", sign(sha256.New, token, gitea)), 202},
		"Gitea, with another key":          {"/gitea", gitea, headers("X-Gitea-Event", "package", "X-Gitea-Signature", sign(sha256.New, other, gitea)), 404},
		"Nexus, over compact JSON":         {"/nexus?registry=nexus.example.com:8082", nexus, headers("X-Nexus-Webhook-Id", "rm:repository:component", "X-Nexus-Webhook-Signature", sign(sha1.New, token, string(compact))), 202},
		"Nexus, with another key":          {"/nexus?registry=nexus.example.com:8082", nexus, headers("X-Nexus-Webhook-Id", "rm:repository:component", "X-Nexus-Webhook-Signature", sign(sha1.New, other, string(compact))), 404},
		"Nexus, of what is not JSON":       {"/nexus?registry=nexus.example.com:8082", "{", headers("X-Nexus-Webhook-Signature", sign(sha1.New, token, "{")), 404},
		"Artifactory, the secret itself":   {"/artifactory?registry=company.jfrog.io", artifactory, headers("X-JFrog-Event-Auth", token), 202},
		"Artifactory, signed":              {"/artifactory?registry=company.jfrog.io", artifactory, headers("X-JFrog-Event-Auth", sign(sha256.New, token, artifactory)), 202},
		"Artifactory, with another secret": {"/artifactory?registry=company.jfrog.io", artifactory, headers("X-JFrog-Event-Auth", other), 404},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage()
			if got := s.send(http.MethodPost, row.path, row.header, []byte(row.body)); got.Code != row.want || (len(s.keys) > 0) != (row.want == 202) {
				t.Errorf("got %d %s, keys %v", got.Code, got.Body, s.keys)
			}
		})
	}
}

func TestHandler_Responses(t *testing.T) {
	good := string(fixture(t, "generic/image"))
	for name, row := range map[string]struct {
		method, path, body string
		want               int
		outcome            string
	}{
		"a push":                            {"POST", "/generic/" + token, good, 202, "generic accepted"},
		"nothing to do":                     {"POST", "/acr/" + other, `{"action":"ping"}`, 202, "acr nothing_to_do"},
		"GET":                               {"GET", "/generic/" + token, "", 405, "generic wrong_method"},
		"GET without a token":               {"GET", "/generic", "", 404, "generic unauthorized"},
		"PUT":                               {"PUT", "/generic/" + token, good, 405, "generic wrong_method"},
		"an unknown path":                   {"POST", "/healthz", good, 404, "unknown unauthorized"},
		"not JSON":                          {"POST", "/generic/" + token, "x", 400, "generic malformed"},
		"empty":                             {"POST", "/generic/" + token, "", 400, "generic malformed"},
		"null":                              {"POST", "/generic/" + token, "null", 400, "generic malformed"},
		"nested":                            {"POST", "/generic/" + token, strings.Repeat(`{"a":`, 100_000), 400, "generic malformed"},
		"1 MiB":                             {"POST", "/generic/" + token, good + strings.Repeat(" ", maxBody-len(good)), 202, "generic accepted"},
		"more than 1 MiB":                   {"POST", "/generic/" + token, good + strings.Repeat(" ", maxBody), 413, "generic too_large"},
		"too large, without a token":        {"POST", "/generic", strings.Repeat(" ", 2*maxBody), 404, "generic unauthorized"},
		"a sender that needs a registry":    {"POST", "/zot/" + token, `{}`, 400, "zot malformed"},
		"a registry that is a URL":          {"POST", "/zot/" + token + "?registry=https://zot.example.com", `{}`, 400, "zot malformed"},
		"a registry without dot and port":   {"POST", "/zot/" + token + "?registry=zot", `{}`, 400, "zot malformed"},
		"a registry with a prefix in upper": {"POST", "/zot/" + token + "?registry=zot.example.com/A", `{}`, 400, "zot malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage()
			response := s.send(row.method, row.path, nil, []byte(row.body))
			if response.Code != row.want || !slices.Equal(s.outcomes, []string{row.outcome}) {
				t.Errorf("got %d %q, %v", response.Code, response.Body, s.outcomes)
			}
			if strings.Count(response.Body.String(), "\n") > 1 || response.Body.Len() > 200 {
				t.Errorf("the response is %q", response.Body)
			}
		})
	}
}

// TestHandler_SameResponseWithoutTags: the response does not reveal which images a cluster runs.
func TestHandler_SameResponseWithoutTags(t *testing.T) {
	var responses []*httptest.ResponseRecorder
	for _, tags := range []int{0, 3} {
		s := newStage()
		s.tags = tags
		responses = append(responses, s.send(http.MethodPost, "/generic/"+token, nil, fixture(t, "generic/image")))
		if !slices.Equal(s.outcomes, []string{"generic accepted"}) {
			t.Errorf("got %v", s.outcomes)
		}
	}
	if responses[0].Code != responses[1].Code || responses[0].Body.String() != responses[1].Body.String() {
		t.Errorf("got %v and %v", responses[0], responses[1])
	}
}

func TestHandler_NotReady(t *testing.T) {
	s := newStage()
	s.err = errors.New("the cache is not synced")
	if got := s.send(http.MethodPost, "/generic/"+token, nil, fixture(t, "generic/image")); got.Code != 503 || !slices.Equal(s.outcomes, []string{"generic unavailable"}) {
		t.Errorf("without Tags: got %d, %v", got.Code, s.outcomes)
	}
	s = newStage()
	s.Tokens = func(string) ([][]byte, bool) { return nil, false }
	if got := s.send(http.MethodPost, "/generic/"+token, nil, fixture(t, "generic/image")); got.Code != 503 {
		t.Errorf("without tokens: got %d", got.Code)
	}
}

func TestHandler_NoAuthentication(t *testing.T) {
	s := newStage()
	s.Tokens = nil
	header := headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256=00")
	for path, want := range map[string]int{"/github": 202, "/github/" + token: 404, "/none": 404} {
		if got := s.send(http.MethodPost, path, header, fixture(t, "github/published")); got.Code != want {
			t.Errorf("%s: got %d, want %d", path, got.Code, want)
		}
	}
}

// TestHandler_EveryPathNeedsAToken: keel#620 was a path without authentication.
func TestHandler_EveryPathNeedsAToken(t *testing.T) {
	for _, served := range [][]string{Senders(), {"quay"}, {"docker"}} {
		s := newStage()
		s.Senders = served
		for _, name := range append(Senders(), "", "metrics", "healthz", "debug/pprof") {
			for _, method := range []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"} {
				for _, suffix := range []string{"", "/", "/x", "?registry=quay.io"} {
					if got := s.send(method, "/"+name+suffix, nil, fixture(t, "generic/image")); got.Code != 404 {
						t.Errorf("%s /%s%s: got %d", method, name, suffix, got.Code)
					}
				}
			}
		}
		if len(s.keys) > 0 {
			t.Errorf("got %v", s.keys)
		}
	}
}

func TestHandler_RegistryOfTheURL(t *testing.T) {
	for query, want := range map[string][]string{
		"?registry=company.jfrog.io":              {"company.jfrog.io/myapp:latest", "company.jfrog.io/docker-local/myapp:latest"},
		"?registry=company.jfrog.io:8443/mirrors": {"company.jfrog.io:8443/mirrors/myapp:latest", "company.jfrog.io:8443/mirrors/docker-local/myapp:latest"},
	} {
		s := newStage()
		if got := s.send(http.MethodPost, "/artifactory/"+token+query, nil, fixture(t, "artifactory/push")); got.Code != 202 || !slices.Equal(s.keys, want) {
			t.Errorf("%s: got %d, %v; want %v", query, got.Code, s.keys, want)
		}
	}
}

// TestHandler_SignedBodiesAreFew: without a token any client may send them, and only few are kept in memory.
func TestHandler_SignedBodiesAreFew(t *testing.T) {
	var reading atomic.Int32
	h := NewHandler(Senders(), newStage().Tokens, &stage{}, func(string, string) {})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &slowBody{ReadCloser: r.Body, reading: &reading}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	bodies, writers := make([]*io.PipeReader, 3*signedBodies), make([]*io.PipeWriter, 3*signedBodies)
	var sending sync.WaitGroup
	for i := range bodies {
		bodies[i], writers[i] = io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/github", bodies[i])
		if err != nil {
			t.Fatal(err)
		}
		request.Header = headers("X-GitHub-Event", "package", "X-Hub-Signature-256", "sha256=00")
		sending.Go(func() {
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
		})
		sending.Go(func() { _, _ = writers[i].Write([]byte("{")) })
	}
	harness.Eventually(t, "bodies that are read", 30*time.Second, func(context.Context) error {
		if got := reading.Load(); got != signedBodies {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
	response, err := http.Post(server.URL+"/generic/"+token, "application/json", bytes.NewReader(fixture(t, "generic/image")))
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusAccepted {
		t.Errorf("a notification with a token meanwhile: %s", response.Status)
	}
	if got := reading.Load(); got > signedBodies {
		t.Errorf("%d bodies are read at a time, want %d", got, signedBodies)
	}
	for i := range writers {
		_ = writers[i].CloseWithError(io.ErrUnexpectedEOF)
	}
	sending.Wait()
}

// slowBody counts the bodies whose reading began and has not ended.
type slowBody struct {
	io.ReadCloser
	reading *atomic.Int32
	once    sync.Once
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.once.Do(func() { b.reading.Add(1) })
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.reading.Add(-1)
	}
	return n, err
}

func FuzzAuthentication(f *testing.F) {
	f.Add("/quay/"+token, "Bearer x", "sha256=00", []byte("{}"))
	f.Add("/github", "Basic dTpw", "sha256="+sign(sha256.New, token[:29], "{}"), []byte("{}"))
	f.Add("/nexus", "", "zz", []byte("{"))
	f.Fuzz(func(t *testing.T, path, authorization, signature string, body []byte) {
		s := newStage()
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
		request.URL.Path = path
		request.Header = headers("Authorization", authorization, "X-Hub-Signature-256", signature, "X-Gitea-Signature", signature,
			"X-Nexus-Webhook-Signature", signature, "X-JFrog-Event-Auth", signature, "X-GitHub-Event", "package")
		response := httptest.NewRecorder()
		s.ServeHTTP(response, request)
		hasToken := func(text string) bool {
			return strings.Contains(text, token) || strings.Contains(text, old) || strings.Contains(text, other)
		}
		decoded, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(authorization, "Basic "))
		isSigned := len(signature) >= hex.EncodedLen(sha1.Size) // the fuzzer does not know the key, and finds no collision
		if response.Code != 404 && !isSigned && !hasToken(path+authorization+signature+string(decoded)) {
			t.Errorf("got %d without a token", response.Code)
		}
	})
}
