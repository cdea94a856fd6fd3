package registry

import (
	"crypto/tls"
	"net/http"

	"k8s.io/utils/lru"
)

// maxPlainHosts bounds for how many hosts it is known that they speak plain HTTP.
const maxPlainHosts = 256

// plainHosts finds out by the first request, where others would greet a registry, whether a host that the administrator lists
// as insecure speaks plain HTTP.
type plainHosts struct{ kept *lru.Cache }

func newPlainHosts() *plainHosts { return &plainHosts{kept: lru.New(maxPlainHosts)} }

// guessing sends what is meant for HTTPS by plain HTTP, to hosts that answer only there, and no credential: whoever shows one
// has greeted the host.
func (p *plainHosts) guessing(insecure func(host string) bool) layer {
	if p == nil {
		return nil
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(request *http.Request) (*http.Response, error) {
			host := request.URL.Host
			if request.URL.Scheme != "https" || !insecure(host) || request.Header.Get("Authorization") != "" {
				return next.RoundTrip(request)
			}
			if _, isPlain := p.kept.Get(host); isPlain {
				response, err := next.RoundTrip(plainly(request))
				if err != nil && request.Context().Err() == nil {
					p.kept.Remove(host)
				}
				return response, err
			}
			response, err := next.RoundTrip(request)
			if err == nil || request.Context().Err() != nil {
				return response, err
			}
			again, canRepeat := repeated(request)
			if !canRepeat {
				return nil, err
			}
			response, plainErr := next.RoundTrip(plainly(again))
			switch {
			case plainErr == nil:
				p.kept.Add(host, nil)
				return response, nil
			case isA[tls.RecordHeaderError](err): // it does speak plain HTTP
				return nil, plainErr
			default:
				return nil, err
			}
		})
	}
}

func plainly(request *http.Request) *http.Request {
	plain := request.Clone(request.Context())
	plain.URL.Scheme = "http"
	return plain
}

// repeated is a request that was sent, to be sent once more. What was streamed cannot be.
func repeated(request *http.Request) (*http.Request, bool) {
	if request.Body == nil || request.Body == http.NoBody {
		return request, true
	}
	if request.GetBody == nil {
		return nil, false
	}
	body, err := request.GetBody()
	if err != nil {
		return nil, false
	}
	again := request.Clone(request.Context())
	again.Body = body
	return again, true
}
