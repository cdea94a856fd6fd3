package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/registrytest"
)

// answersWith is a registry that greets, and answers every question the same.
func answersWith(answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				answer(w, r)
			}
		})
	}
}

func TestWhatARegistryAnswersHasAReason(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	// Only a GET has a body, so this one makes us ask with a GET.
	says := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			registrytest.Refuse(w, status, code, "the registry's own words")
		}
	}
	for _, row := range []struct {
		name     string
		answer   http.HandlerFunc
		want     v1.Reason
		terminal bool
		text     string
	}{
		{name: "401", answer: status(401), want: v1.ReasonUnauthorized, text: "pull secrets"},
		{name: "403", answer: status(403), want: v1.ReasonUnauthorized, text: "tried anonymously"},
		{name: "404", answer: status(404), want: v1.ReasonNotFound, text: "check spec.from"},
		{name: "429", answer: status(429), want: v1.ReasonRateLimited, text: "asks to wait"},
		{name: "500", answer: status(500), want: v1.ReasonUnavailable, text: "answered 500"},
		{name: "503", answer: status(503), want: v1.ReasonUnavailable, text: "tries again"},
		{name: "a status of no protocol", answer: status(418), want: v1.ReasonUnavailable, text: "answered 418"},
		{name: "400 MANIFEST_UNKNOWN", answer: says(400, "MANIFEST_UNKNOWN"), want: v1.ReasonNotFound, text: "MANIFEST_UNKNOWN: the registry's own words"},
		{name: "400 NAME_UNKNOWN", answer: says(400, "NAME_UNKNOWN"), want: v1.ReasonNotFound, text: "NAME_UNKNOWN"},
		{name: "400 DENIED", answer: says(400, "DENIED"), want: v1.ReasonUnauthorized, text: "DENIED"},
		{name: "400 TOOMANYREQUESTS", answer: says(400, "TOOMANYREQUESTS"), want: v1.ReasonRateLimited, text: "TOOMANYREQUESTS"},
		{name: "400 NAME_INVALID, which only an edit cures", answer: says(400, "NAME_INVALID"), want: v1.ReasonInvalidReference, terminal: true, text: "NAME_INVALID"},
		{name: "400 of another kind", answer: says(400, "UNSUPPORTED"), want: v1.ReasonUnavailable, text: "UNSUPPORTED"},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, answersWith(row.answer))
			got := failure(t, newClient(t, u), u.Host()+"/team/app:v1", anonymous)
			if got.Reason() != row.want || got.Terminal() != row.terminal {
				t.Errorf("got %s, terminal %v; want %s, %v", got.Reason(), got.Terminal(), row.want, row.terminal)
			}
			if text := got.Error(); !strings.Contains(text, row.text) || !strings.HasPrefix(text, u.Host()+"/team/app:v1: ") {
				t.Errorf("the text is %q, want the image and %q", text, row.text)
			}
			if asked := u.Count(http.MethodHead, "/manifests/"); asked != 1 {
				t.Errorf("asked %d times: retrying is the caller's", asked)
			}
		})
	}
}

func TestAGreetingThatFailsHasAReasonToo(t *testing.T) {
	u := registrytest.NewUpstream(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			registrytest.Refuse(w, 429, "TOOMANYREQUESTS", "slow down")
		})
	})
	client := newClient(t, u, func(options *registry.Options) { options.Clock = clocktesting.NewFakePassiveClock(time.Now()) })
	got := failure(t, client, u.Host()+"/team/app", anonymous)
	if got.Reason() != v1.ReasonRateLimited || got.RetryAfter() != 7*time.Second || u.Count("", "") != 1 {
		t.Errorf("got %s after %v with %d requests: %v", got.Reason(), got.RetryAfter(), u.Count("", ""), got)
	}
}

func TestRetryAfterIsReadFromTheAnswerItself(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name, header string
		status       int
		want         time.Duration // 0 for the 5 s, and up to a fifth more, that we think fit
		none         bool
	}{
		{name: "seconds", header: "120", status: 429, want: 2 * time.Minute},
		{name: "a date", header: now.Add(time.Minute).Format(http.TimeFormat), status: 429, want: time.Minute},
		{name: "with 503", header: "30", status: 503, want: 30 * time.Second},
		{name: "nothing", header: "", status: 429, want: 0},
		{name: "no number and no date", header: "soon", status: 429, want: 0},
		{name: "a negative number", header: "-1", status: 429, want: 0},
		{name: "a date that is over", header: now.Add(-time.Minute).Format(http.TimeFormat), status: 429, want: 0},
		{name: "more than a day", header: "999999999", status: 429, want: 24 * time.Hour},
		{name: "with 500, where it means nothing", header: "30", status: 500, none: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", row.header)
				w.WriteHeader(row.status)
			}))
			client := newClient(t, u, func(options *registry.Options) { options.Clock = clocktesting.NewFakePassiveClock(now) })
			got := failure(t, client, u.Host()+"/team/app", anonymous).RetryAfter()
			ours := row.want == 0 && !row.none && got >= 5*time.Second && got <= 6*time.Second
			if got != row.want && !ours {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// TestOfSeveralTimesToWaitTheLongestCounts: each request may meet another answer, and all of them are about the host.
func TestOfSeveralTimesToWaitTheLongestCounts(t *testing.T) {
	const callers = 30
	arrived := make(chan struct{}, callers)
	all := make(chan struct{})
	u := registrytest.NewUpstream(t, answersWith(func(w http.ResponseWriter, r *http.Request) {
		if arrived <- struct{}{}; len(arrived) == callers {
			close(all)
		}
		<-all
		w.Header().Set("Retry-After", strings.TrimPrefix(r.URL.Path, "/v2/team/app/manifests/"))
		w.WriteHeader(429)
	}))
	client := newClient(t, u, func(options *registry.Options) { options.Clock = clocktesting.NewFakePassiveClock(time.Now()) })
	var group sync.WaitGroup
	for seconds := 1; seconds <= callers; seconds++ {
		group.Go(func() {
			_, err := resolve(t, client, fmt.Sprintf("%s/team/app:%d", u.Host(), seconds), anonymous)
			var got *regerr.Error
			if !errors.As(err, &got) || got.RetryAfter() < time.Duration(seconds)*time.Second {
				t.Errorf("got %v, want at least %d s", err, seconds)
			}
		})
	}
	group.Wait()
	if got := failure(t, client, u.Host()+"/team/app:later", anonymous); got.RetryAfter() != callers*time.Second {
		t.Errorf("the host is left alone for %s, want %d s", got.RetryAfter(), callers)
	}
}

func TestResolve_UnreachableIsUnavailable(t *testing.T) {
	stranger := registrytest.NewUpstream(t, nil)
	gone := registrytest.NewUpstream(t, nil)
	gone.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	go func() {
		for {
			connection, err := silent.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
	cut := registrytest.NewUpstream(t, answers(func(http.ResponseWriter) {}, ""))
	cut.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" && r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"schemaVersion":2}`)
		}
	})
	for _, row := range []struct {
		name, host, text string
		trust            *registrytest.Upstream
	}{
		{name: "it refuses connections", host: gone.Host(), text: "refuses connections"},
		{name: "its name does not exist", host: "registry.invalid", text: "cannot be resolved"},
		{name: "its authority is unknown", host: stranger.Host(), text: "authority that is not trusted"},
		{name: "its certificate is for another name", host: strings.Replace(stranger.Host(), "127.0.0.1", "localhost", 1), trust: stranger, text: "another name"},
		{name: "it hangs up, as what balances load does while nothing is behind it", host: silent.Addr().String(), text: "the connection failed"},
		{name: "the body breaks off", host: cut.Host(), trust: cut, text: "the connection failed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := failure(t, newClient(t, row.trust, listing(t, row.host)), row.host+"/team/app", anonymous)
			if got.Reason() != v1.ReasonUnavailable || got.Terminal() || !strings.Contains(got.Error(), row.text) {
				t.Errorf("got %s, terminal %v: %v; want %q", got.Reason(), got.Terminal(), got, row.text)
			}
		})
	}
	resolved(t, newClient(t, stranger), stranger.Host()+"/team/app", anonymous, stranger.Push(t, "team/app", "latest", "one"))
}

func TestErrorTextsHoldNothingSecret(t *testing.T) {
	const planted = "hunter2-planted"
	tokenised := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="https://%s/token?ticket=%s",service="test"`, r.Host, planted))
		w.WriteHeader(http.StatusUnauthorized)
	}
	for _, row := range []struct {
		name  string
		guard http.HandlerFunc
	}{
		{name: "a token service that answers with a web page", guard: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				_, _ = io.WriteString(w, "<html>"+planted+"</html>")
				return
			}
			tokenised(w, r)
		}},
		{name: "a token service that answers without a token", guard: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				_, _ = io.WriteString(w, `{"not_a_token":"`+planted+`"}`)
				return
			}
			tokenised(w, r)
		}},
		{name: "a token service that hangs up", guard: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				panic(http.ErrAbortHandler)
			}
			tokenised(w, r)
		}},
		{name: "a redirect to a signed address that fails", guard: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				http.Redirect(w, r, "https://registry.invalid/blob?signature="+planted, http.StatusTemporaryRedirect)
			}
		}},
		{name: "a host that is no registry and fails with a page", guard: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "internal: "+planted, http.StatusInternalServerError)
		}},
		{name: "a host that answers in JSON of its own", guard: func(w http.ResponseWriter, _ *http.Request) {
			registrytest.Refuse(w, http.StatusForbidden, "AccessDenied", planted)
		}},
		{name: "a registry that repeats what it was shown", guard: func(w http.ResponseWriter, r *http.Request) {
			registrytest.Refuse(w, http.StatusForbidden, "DENIED", "Authorization: "+r.Header.Get("Authorization")+" Bearer "+planted+" eyJ"+planted+".x.y at https://x/y?sig="+planted)
		}},
		{name: "a registry that repeats the password, and how it was written", guard: func(w http.ResponseWriter, r *http.Request) {
			_, password, _ := r.BasicAuth()
			_, written, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			if password == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			}
			registrytest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", strings.Repeat(".", 250)+password+" or "+written+" is revoked")
		}},
		{name: "a token service that repeats the password", guard: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/token" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="here"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, password, _ := r.BasicAuth()
			registrytest.Refuse(w, http.StatusForbidden, "DENIED", "the token "+password+" is revoked")
		}},
		{name: "a registry that sends control characters without end", guard: func(w http.ResponseWriter, _ *http.Request) {
			registrytest.Refuse(w, http.StatusForbidden, "DENIED", strings.Repeat("\x1b[2J\u202e\n", 4000))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := registrytest.NewUpstream(t, func(http.Handler) http.Handler { return row.guard })
			text := failure(t, newClient(t, u), u.Host()+"/team/app", as(t, u, "robot", planted)).Error()
			for _, leak := range []string{planted, strings.TrimPrefix(basic("robot", planted), "Basic "), "?", "Bearer t"} {
				if strings.Contains(text, leak) {
					t.Errorf("%q holds %q", text, leak)
				}
			}
			if !isPrintable(text) || strings.ContainsRune(text, '\u202e') {
				t.Errorf("%q is not fit for a status", text)
			}
		})
	}
}

func TestTheErrorUnderneathIsThereForErrorsIs(t *testing.T) {
	u := registrytest.NewUpstream(t, nil)
	u.Close()
	var network *net.OpError
	if got := failure(t, newClient(t, u), u.Host()+"/team/app", anonymous); !errors.As(got, &network) || errors.Is(got, context.Canceled) {
		t.Errorf("%v wraps %T", got, errors.Unwrap(got))
	}
}
