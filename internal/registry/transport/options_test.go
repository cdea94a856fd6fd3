package transport

import (
	"testing"
	"time"
)

func TestTransportOptions_Timeouts(t *testing.T) {
	want := Timeouts{Request: 30 * time.Second, Header: 15 * time.Second, Stall: 30 * time.Second, Store: 5 * time.Minute, Throttle: 5 * time.Second}
	if got := (Options{}).Complete().Timeouts; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
