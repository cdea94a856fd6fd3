package throttle

import "context"

// RequestContext is for whom a request is sent.
type RequestContext struct {
	// Namespace is that of the Tag. Where several share a request, it is that of the first one.
	Namespace string
	// CredentialID is that of the credential: rate limits are a credential's. It stays in memory.
	CredentialID string
}

type requestContextKey struct{}

// WithRequest returns a context whose requests are sent for it.
func WithRequest(ctx context.Context, request RequestContext) context.Context {
	return context.WithValue(ctx, requestContextKey{}, request)
}

// requestOf returns for whom requests of the context are sent.
func requestOf(ctx context.Context) RequestContext {
	request, _ := ctx.Value(requestContextKey{}).(RequestContext)
	return request
}
