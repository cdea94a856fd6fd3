package transport

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/images-io/tagger/internal/registry/endpoint"
)

// Go's own client keeps an Authorization for what is below the host that it was for, and go-containerregistry does not show
// one to others by itself. Neither is what we rely on.
func TestWhatOneHostWasShownTheNextIsNot(t *testing.T) {
	shown := map[string]string{}
	hosts := RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		shown[request.URL.Host] = request.Header.Get("Authorization") + request.Header.Get("Referer")
		answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: request, Body: io.NopCloser(strings.NewReader(""))}
		if next := map[string]string{"example.com": "a.example.com", "a.example.com": "b.a.example.com"}[request.URL.Host]; next != "" {
			answer.StatusCode = http.StatusTemporaryRedirect
			answer.Header.Set("Location", "https://"+next+"/")
		}
		return answer, nil
	})
	client := http.Client{Transport: limitRedirects(maxRedirects)(hosts)}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/?signature=s", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer s3cret")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if len(shown) != 3 || shown["example.com"] != "Bearer s3cret" || shown["a.example.com"] != "" || shown["b.a.example.com"] != "" {
		t.Errorf("shown was %v", shown)
	}
}

func TestRedirect_HostTooLong(t *testing.T) {
	hosts := RoundTripperFunc(func(request *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{}, Request: request, Body: io.NopCloser(strings.NewReader(""))}
		answer.Header.Set("Location", "https://"+strings.Repeat("a", endpoint.MaxHostLength+1)+"/")
		if request.URL.Host != "example.com" {
			t.Errorf("a host of %d bytes is asked", len(request.URL.Host))
		}
		return answer, nil
	})
	client := http.Client{Transport: limitRedirects(maxRedirects)(hosts)}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, errNoHostname) {
		t.Errorf("got %v", err)
	}
}
