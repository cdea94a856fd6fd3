package push

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// maxConnections bounds the connections of one address.
	maxConnections = 1024
	// maxHeaderBytes bounds the headers of a request.
	maxHeaderBytes = 16 << 10
	// headerTimeout bounds the time until the headers of a request have arrived.
	headerTimeout = 3 * time.Second
	// requestTimeout bounds a request and its response. Quay waits for 10 s, and disables a notification that fails three times.
	requestTimeout = 8 * time.Second
	// stopTimeout bounds how long the server waits for requests when it stops.
	stopTimeout = requestTimeout
)

// Server serves notifications at one address.
type Server struct {
	// Address is host:port; an empty host means every address.
	Address string
	Handler http.Handler
	// TLS is the configuration of HTTPS; nil means plain HTTP.
	TLS *tls.Config
}

// Start serves until the context ends, and returns when all requests in progress have their responses.
func (s *Server) Start(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("serving push notifications: %w", err)
	}
	listener = netutil.LimitListener(listener, maxConnections)
	if s.TLS != nil {
		listener = tls.NewListener(listener, s.TLS)
	}
	server := &http.Server{
		Handler:           s.Handler,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       requestTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(io.Discard, "", 0), // any client can cause its lines, which are not JSON
	}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		stopped <- server.Shutdown(limit)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving push notifications: %w", err)
	}
	return <-stopped
}
