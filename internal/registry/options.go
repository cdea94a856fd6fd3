package registry

import (
	"k8s.io/utils/clock"

	"github.com/images-io/tagger/internal/registry/copier"
	"github.com/images-io/tagger/internal/registry/transport"
)

// Options say how a Client works. The zero value reaches public registries and trusts the system's CAs.
type Options struct {
	transport.Options
	// Clock tells when a token expires, and when a host may be asked again; nil means the system's.
	Clock clock.PassiveClock
	// Copies bound what Copy does.
	Copies copier.Limits
}

// complete fills in the defaults.
func (o Options) complete() Options {
	o.Options = o.Options.Complete()
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.Copies = o.Copies.Complete()
	return o
}
