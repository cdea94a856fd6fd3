package regerr

import (
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter bounds what a registry may ask for.
const maxRetryAfter = 24 * time.Hour

// ParseRetryAfter reads the header (RFC 9110, section 10.2.3): seconds, or a date. It is 0 where there is none, or nothing to wait for.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}
