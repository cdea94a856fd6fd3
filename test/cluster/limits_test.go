package cluster

import (
	"os"
	"testing"
)

func TestLimitsAreThoseOfTheManifest(t *testing.T) {
	limits, err := ReadShippedLimits()
	if err != nil {
		t.Fatal(err)
	}
	if limits.Memory != 512<<20 || len(limits.Env) != 2 {
		t.Errorf("the limits are %+v, want 512 MiB, GOMEMLIMIT and GOGC", limits)
	}
}

func TestPeakMemoryIsThatOfTheProcess(t *testing.T) {
	peak, err := (&Manager{PID: os.Getpid()}).PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	if peak < 1<<20 {
		t.Errorf("this process has %d bytes resident at most, want a test binary's memory", peak)
	}
}
