package registry

import "k8s.io/utils/clock"

// Options say how a Client works. The zero value reaches public registries and trusts the system's CAs.
type Options struct {
	TransportOptions
	// Clock tells when a token expires, and when a host may be asked again; nil means the system's.
	Clock clock.PassiveClock
	// Copies bound what Copy does.
	Copies CopyLimits
}

// complete fills in the defaults.
func (o Options) complete() Options {
	o.TransportOptions = o.TransportOptions.complete()
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	o.Copies = o.Copies.complete()
	return o
}
