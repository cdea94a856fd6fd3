package registry

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/internal/registry/throttle"
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
	// waiting is, by source and place, when the last answer began that somebody left before it came, and that is there now.
	waiting *lru.Cache
}

// question is what is asked. Questions of one key have the same answer; the key contains who asks, which about does not.
type question struct {
	key, about string
	// notBefore is when the asking must have begun, or later.
	notBefore time.Time
	// begin refuses the question, or returns what is told of its end. isStray says that nobody waits for the answer.
	begin func(isStray bool) (end func(error), err error)
	ask   func(context.Context) (string, error)
}

// answer is there once done is closed.
type answer struct {
	began  time.Time
	done   chan struct{}
	digest string
	err    error
	// isLeft: somebody left before it came, and comes back for it.
	isLeft bool
}

func newAnswers(clock clock.PassiveClock, limit time.Duration) *answers {
	return &answers{clock: clock, limit: limit, kept: lru.New(maxAnswers), waiting: lru.New(maxAnswers)}
}

// known is the answer to a question that need not be asked.
func (a *answers) known(q question) (*answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.lookup(q.key)
	return found, found != nil && found.isDone() && a.isGood(found, q)
}

// waits says whether an answer is there that somebody left before it came. Whose it is, known tells.
func (a *answers) waits(about string) bool {
	began, found := a.waiting.Get(about)
	return found && a.isKept(began.(time.Time))
}

// get waits for the answer, but no longer than ctx. The asking goes on when who began it leaves. Who comes while it is
// under way and needs a fresher answer waits for its end, and then asks for all who came meanwhile.
func (a *answers) get(ctx context.Context, q question) (string, error) {
	for {
		found, isMine, err := a.join(ctx, q, false)
		if err != nil {
			return "", err
		}
		select {
		case <-ctx.Done():
			a.leave(found, q)
			return "", ctx.Err()
		case <-found.done:
		}
		if isMine || !found.began.Before(q.notBefore) {
			return found.digest, found.err
		}
	}
}

// start sees to it that an answer comes, for somebody who does not wait for it.
func (a *answers) start(ctx context.Context, q question) error {
	found, _, err := a.join(ctx, q, true)
	if err != nil {
		return err
	}
	a.leave(found, q)
	return nil
}

// leave notes that somebody comes back for the answer.
func (a *answers) leave(found *answer, q question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found.isLeft = true
	a.offer(found, q)
}

// offer has an answer that is there be found by whoever left before.
func (a *answers) offer(found *answer, q question) {
	if found.isLeft && found.isDone() && a.lookup(q.key) == found {
		a.waiting.Add(q.about, found.began)
	}
}

// join is the answer that is good or under way, or else a new one, which is the caller's.
func (a *answers) join(ctx context.Context, q question, isStray bool) (found *answer, isMine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.lookup(q.key); found != nil && (!found.isDone() || a.isGood(found, q)) {
		return found, false, nil
	}
	end, err := q.begin(isStray)
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
	into.err = regerr.WithoutCause(into.err)
	a.mu.Lock()
	defer a.mu.Unlock()
	close(into.done)
	if (throttle.IsPostponed(into.err) || throttle.IsClosed(into.err)) && a.lookup(q.key) == into {
		a.kept.Remove(q.key) // nobody was asked
	}
	a.offer(into, q)
}

func (a *answers) isGood(found *answer, q question) bool {
	return !found.began.Before(q.notBefore) && a.isKept(found.began)
}

func (a *answers) isKept(began time.Time) bool { return a.clock.Since(began) <= answersLast }

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
