package throttle

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// reserve is the part of a rate limit that polls leave to imports.
	reserve = 0.2

	// Where a registry does not say for how long its limit counts, and how much we believe at most.
	shortestWindow = time.Minute
	longestWindow  = 24 * time.Hour
)

// rateLimit is what a registry said that it lets an identity ask, at a time.
type rateLimit struct {
	limit, remaining float64
	window           time.Duration
	at               time.Time
}

// parseRateLimit reads what Docker Hub and others say with every response: "ratelimit-limit: 100;w=21600" and
// "ratelimit-remaining: 20;w=21600", the window in seconds.
func parseRateLimit(header http.Header, now time.Time) (rateLimit, bool) {
	remaining, window, ok := parseCount(header.Get("Ratelimit-Remaining"))
	if !ok {
		return rateLimit{}, false
	}
	limit, _, _ := parseCount(header.Get("Ratelimit-Limit"))
	return rateLimit{limit: max(limit, remaining, 1), remaining: remaining, window: window, at: now}, true
}

func parseCount(value string) (count float64, window time.Duration, ok bool) {
	number, parameter, _ := strings.Cut(value, ";")
	parsed, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
	if err != nil {
		return 0, 0, false
	}
	seconds, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(parameter), "w="), 10, 31)
	if err != nil {
		return float64(parsed), shortestWindow, true
	}
	return float64(parsed), min(max(time.Duration(seconds)*time.Second, time.Second), longestWindow), true
}

// wait returns how long to leave the registry alone: until there is something to spend, and for a hint until there is more than
// the reserve. What was spent returns evenly over the window, until the next response says otherwise.
func (b rateLimit) wait(hint bool, now time.Time) time.Duration {
	needed := 1.0
	if hint {
		needed = min(1+reserve*b.limit, b.limit)
	}
	perRequest := float64(b.window) / b.limit
	left := b.remaining + float64(now.Sub(b.at))/perRequest
	return time.Duration(max(needed-left, 0) * perRequest)
}
