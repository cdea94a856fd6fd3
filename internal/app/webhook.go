package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	webhookadmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// longestArrival bounds the time until a request has arrived, with its handshake and its body.
	longestArrival = 10 * time.Second
	// longestResponse bounds the time from the headers of a request until its response is sent.
	longestResponse = longestArrival + longestAdmission
	// idleConnection bounds how long the server keeps an idle connection.
	idleConnection = 90 * time.Second
	// maxHeaderBytes bounds the headers of a request. The API server sends less than 1 KiB.
	maxHeaderBytes = 16 << 10
	// probeTimeout bounds a readiness probe's own connection.
	probeTimeout = 10 * time.Second
)

// webhookServer is controller-runtime's webhook server with bounds that controller-runtime does not set.
type webhookServer struct {
	webhook.Server
	address string
	mux     *http.ServeMux
	tls     *tls.Config
}

// newBoundedServer returns a webhook server for HTTP/1.1 only: a connection of HTTP/2 buffers up to 1 MiB of unread requests,
// and one large review that waits would delay the small ones behind it.
func newBoundedServer(options webhook.Options, address string, config *tls.Config) *webhookServer {
	options.WebhookMux = http.NewServeMux()
	config.NextProtos = []string{"http/1.1"}
	return &webhookServer{Server: webhook.NewServer(options), address: address, mux: options.WebhookMux, tls: config}
}

// Start serves until the context ends, and returns when all reviews in progress have their responses. Their contexts do not end
// with the server's: a review that reads a Tag completes.
func (s *webhookServer) Start(ctx context.Context) error {
	listener, err := tls.Listen("tcp", s.address, s.tls)
	if err != nil {
		return fmt.Errorf("serving the webhooks: %w", err)
	}
	server := &http.Server{
		Handler:        s.mux,
		BaseContext:    func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ReadTimeout:    longestArrival,
		WriteTimeout:   longestResponse,
		IdleTimeout:    idleConnection,
		MaxHeaderBytes: maxHeaderBytes,
	}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		log.FromContext(ctx).Info("Shutting down webhook server")
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestArrival+longestResponse)
		defer cancel()
		stopped <- server.Shutdown(limit)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the webhooks: %w", err)
	}
	return <-stopped
}

// StartedChecker returns a check that succeeds when the server accepts connections.
func (s *webhookServer) StartedChecker() healthz.Checker {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: probeTimeout},
		Config:    &tls.Config{InsecureSkipVerify: true}, // the check sends nothing
	}
	return func(request *http.Request) error {
		connection, err := dialer.DialContext(request.Context(), "tcp", s.address)
		if err != nil {
			return fmt.Errorf("the webhook server cannot be reached: %w", err)
		}
		return connection.Close()
	}
}

// webhookFor returns the HTTP handler of an admission handler. A panic becomes an error response.
func webhookFor(handler webhookadmission.Handler) *webhookadmission.Webhook {
	return &webhookadmission.Webhook{Handler: handler, RecoverPanic: ptr.To(true)}
}
