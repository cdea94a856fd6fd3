package measure

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine describes the machine of the measurement.
func machine() string {
	return fmt.Sprintf("%d cores, %s of memory, %s/%s, %s", runtime.NumCPU(), totalMemory(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// totalMemory is the machine's (proc(5), meminfo).
func totalMemory() string {
	text, _ := os.ReadFile("/proc/meminfo") // only Linux has the file
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, "MemTotal:")
		kibibytes, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if found && err == nil {
			return fmt.Sprintf("%.0f GiB", float64(kibibytes)/(1<<20))
		}
	}
	return "an unknown amount"
}
