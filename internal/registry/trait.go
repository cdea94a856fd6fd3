package registry

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
)

// traitsHold is for how long it is taken for granted what a registry does: another one may be at the address by then.
// silenceHolds is for how long it is not asked again where it did not say.
const (
	traitsHold   = time.Hour
	silenceHolds = time.Minute
)

// trait is something that registries do, or do not: which one does is found out by trying, now and then.
type trait struct {
	known *cache.Expiring
	// asking are the questions that are open.
	asking coalesced[bool]
}

func newTrait(limit time.Duration) trait {
	return trait{known: cache.NewExpiring(), asking: coalesced[bool]{limit: limit}}
}

// holds says whether the registry at an address has the trait. No answer means no.
func (t *trait) holds(ctx context.Context, address string, try func(context.Context) (bool, error)) bool {
	if known, isKnown := t.known.Get(address); isKnown {
		return known.(bool)
	}
	holds, _ := t.asking.do(ctx, address, func(ctx context.Context) (bool, error) {
		holds, err := try(ctx)
		hold := traitsHold
		if err != nil {
			hold = silenceHolds
		}
		t.known.Set(address, holds, hold)
		return holds, err
	})
	return holds
}
