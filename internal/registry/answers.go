package registry

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

const (
	// maxAnswers bounds how many answers are kept, and answersLast for how long.
	maxAnswers  = 4096
	answersLast = time.Minute
)

// answers asks each question once at a time, and keeps the answer for a moment. Everybody says how fresh it must be: an
// answer is good for those who need none that began later.
type answers struct {
	clock clock.PassiveClock
	// limit bounds the asking.
	limit time.Duration

	mu   sync.Mutex
	kept *lru.Cache
}

// question is what is asked. Questions of one key have the same answer; the key contains who asks.
type question struct {
	key string
	// notBefore is when the asking must have begun, or later.
	notBefore time.Time
	// begin refuses the question, or returns what is told of its end.
	begin func() (end func(error), err error)
	ask   func(context.Context) (string, error)
}

// answer is there once done is closed.
type answer struct {
	began  time.Time
	done   chan struct{}
	digest string
	err    error
}

func newAnswers(clock clock.PassiveClock, limit time.Duration) *answers {
	return &answers{clock: clock, limit: limit, kept: lru.New(maxAnswers)}
}

// known is the answer to a question that need not be asked.
func (a *answers) known(q question) (*answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.lookup(q.key)
	return found, found != nil && found.isDone() && a.isGood(found, q)
}

// get waits for the answer, but no longer than ctx. The asking goes on when who began it leaves. Who comes while it is
// under way and needs a fresher answer waits for its end, and then asks for all who came meanwhile.
func (a *answers) get(ctx context.Context, q question) (string, error) {
	for {
		found, isMine, err := a.join(ctx, q)
		if err != nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-found.done:
		}
		if isMine || !found.began.Before(q.notBefore) {
			return found.digest, found.err
		}
	}
}

// join is the answer that is good or under way, or else a new one, which is the caller's.
func (a *answers) join(ctx context.Context, q question) (found *answer, isMine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.lookup(q.key); found != nil && (!found.isDone() || a.isGood(found, q)) {
		return found, false, nil
	}
	end, err := q.begin()
	if err != nil {
		return nil, false, err
	}
	started := &answer{began: a.clock.Now(), done: make(chan struct{})}
	a.kept.Add(q.key, started)
	go a.ask(context.WithoutCancel(ctx), q, started, end)
	return started, true, nil
}

func (a *answers) ask(ctx context.Context, q question, into *answer, end func(error)) {
	ctx, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	into.digest, into.err = q.ask(ctx)
	end(into.err)
	a.mu.Lock()
	defer a.mu.Unlock()
	close(into.done)
	if (isPostponed(into.err) || isClosed(into.err)) && a.lookup(q.key) == into {
		a.kept.Remove(q.key) // nobody was asked
	}
}

func (a *answers) isGood(found *answer, q question) bool {
	return !found.began.Before(q.notBefore) && a.clock.Since(found.began) <= answersLast
}

func (a *answers) lookup(key string) *answer {
	kept, _ := a.kept.Get(key)
	found, _ := kept.(*answer)
	return found
}

func (a *answer) isDone() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}
