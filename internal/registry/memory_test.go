//go:build !race

package registry_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// TestAHostileRegistryCostsLittleMemory is not for the race detector, whose own memory would count (make test-faults).
// The peak of the resident memory counts, not what is left in the end: the peak is what a container is killed for. Linux
// keeps it, and lets a process begin anew (proc(5), clear_refs).
func TestAHostileRegistryCostsLittleMemory(t *testing.T) {
	all := attacks()
	runtime.GC()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before := resident(t, "VmRSS:")
	for _, attack := range all {
		attack.run(t)
	}
	grown := resident(t, "VmHWM:") - before
	t.Logf("the peak is %.1f MiB above what was resident before", float64(grown)/(1<<20))
	if grown >= 64<<20 {
		t.Errorf("it grew by %d MiB, want less than 64", grown>>20)
	}
}

// resident reads a line of /proc/self/status, in bytes.
func resident(t *testing.T, line string) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), line)
	kibibytes, err := strconv.Atoi(strings.Fields(after + " ?")[0])
	if err != nil {
		t.Fatal(err)
	}
	return kibibytes << 10
}
