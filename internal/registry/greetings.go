package registry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"k8s.io/utils/lru"
)

// maxGreetings bounds for how many registries it is known how they want to be asked.
const maxGreetings = 1024

// greetings keeps how a registry wants to be asked (distribution-spec, section "Determining Support"), for all its
// repositories and whoever asks: nobody shows a credential when greeting.
type greetings struct {
	kept     *lru.Cache
	greeting coalesced[*transport.Challenge]
}

func newGreetings(limit time.Duration) *greetings {
	return &greetings{kept: lru.New(maxGreetings), greeting: coalesced[*transport.Challenge]{limit: limit}}
}

// get is the registry's answer to a greeting, an old one if that will do.
func (g *greetings) get(ctx context.Context, wire http.RoundTripper, at location, oldWillDo bool) (challenge *transport.Challenge, isOld bool, err error) {
	key := greetingKey(at)
	if kept, known := g.kept.Get(key); known && oldWillDo {
		return kept.(*transport.Challenge), true, nil
	}
	challenge, err = g.greeting.do(ctx, key, func(ctx context.Context) (*transport.Challenge, error) {
		challenge, err := transport.Ping(ctx, at.registry, wire)
		if err == nil {
			delete(challenge.Parameters, "scope") // which is that of any repository, at ghcr.io one that does not exist
		}
		return challenge, err
	})
	if err == nil {
		g.kept.Add(key, challenge)
	}
	return challenge, false, err
}

func (g *greetings) knows(at location) bool {
	_, known := g.kept.Get(greetingKey(at))
	return known
}

func (g *greetings) forget(at location) { g.kept.Remove(greetingKey(at)) }

func greetingKey(at location) string {
	return at.registry.RegistryStr() + " " + strconv.FormatBool(at.insecure)
}
