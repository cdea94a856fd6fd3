package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/images-io/tagger/test/bench/measure"
)

// slowConnections is the number of connections whose requests never arrive completely. A quarter sends bodies.
const slowConnections = 1000

// attack measures what clients without a token cost: admission, memory, and the notifications of others.
func (p *pusher) attack(ctx context.Context, rows *measure.Report) error {
	before, _, err := measure.Memory(p.manager.PID)
	if err != nil {
		return err
	}
	usual, err := p.admitted(ctx, "usual")
	if err != nil {
		return err
	}
	attacking, stop := context.WithTimeout(ctx, attackFor)
	defer stop()
	var attackers sync.WaitGroup
	for range 4 {
		attackers.Go(func() { p.guess(attacking) })
	}
	for range 2 {
		attackers.Go(func() { p.sendEndless(attacking) })
	}
	for range slowConnections / 4 {
		attackers.Go(func() { p.forge(attacking) })
	}
	for range slowConnections * 3 / 4 {
		attackers.Go(func() { p.dribble(attacking) })
	}
	var longest time.Duration
	var admitted []time.Duration
	for attacking.Err() == nil {
		took, notifyErr := p.notify(ctx, 0)
		attacked, admitErr := p.admitted(ctx, fmt.Sprint("attacked-", len(admitted)))
		if err := errors.Join(notifyErr, admitErr); err != nil {
			return err
		}
		longest, admitted = max(longest, took), append(admitted, attacked)
	}
	attackers.Wait()
	_, peak, err := measure.Memory(p.manager.PID)
	slices.Sort(admitted)
	rows.Size(fmt.Sprintf("%s of wrong tokens, %d slow connections and endless bodies: more memory", attackFor, slowConnections), peak-min(before, peak), 128<<20)
	rows.Count("  median admission, of that without the attack", percentile(admitted, 50).Seconds()/usual.Seconds(), 2)
	rows.Duration("  longest response to a valid notification", longest, 8*time.Second)
	return err
}

// admitted returns the median time of some creations of Deployments.
func (p *pusher) admitted(ctx context.Context, prefix string) (time.Duration, error) {
	const creations = 20
	times := make([]time.Duration, creations)
	for i := range times {
		start := time.Now()
		if err := p.api.Create(ctx, deployment(pushNamespace, fmt.Sprintf("%s-%d", prefix, i), "app-0")); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return percentile(times, 50), nil
}

// guess sends wrong tokens.
func (p *pusher) guess(ctx context.Context) {
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.manager.PushURL+"/generic/wrong-token-0123456789abcdef", strings.NewReader("{}"))
		if err != nil {
			return
		}
		if response, err := p.client.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}
}

// endless is a body of 1 GiB of spaces.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// sendEndless sends bodies of 1 GiB with the valid token.
func (p *pusher) sendEndless(ctx context.Context) {
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, io.LimitReader(endless{}, 1<<30))
		if err != nil {
			return
		}
		if response, err := p.client.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}
}

// forge sends bodies of 1 MiB with a signature that is not valid. The last byte never arrives.
func (p *pusher) forge(ctx context.Context) {
	for ctx.Err() == nil {
		body, writer := io.Pipe()
		stop := context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) })
		go func() { _, _ = io.CopyN(writer, endless{}, 1<<20-1) }()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.manager.PushURL+"/github", body)
		if err != nil {
			return
		}
		request.Header.Set("X-Hub-Signature-256", "sha256=00")
		if response, err := p.client.Do(request); err == nil {
			_ = response.Body.Close()
		}
		stop()
		_ = writer.Close()
	}
}

// dribble keeps a connection open whose headers arrive byte by byte.
func (p *pusher) dribble(ctx context.Context) {
	dialer := net.Dialer{}
	for ctx.Err() == nil {
		connection, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(p.manager.PushURL, "http://"))
		if err != nil {
			return
		}
		_, err = io.WriteString(connection, "POST /generic HTTP/1.1\r\nHost: a\r\nX-A: ")
		for err == nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
				_, err = io.WriteString(connection, "a")
			}
		}
		_ = connection.Close()
	}
}
