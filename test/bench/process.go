package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/images-io/tagger/test/cluster"
)

// clockTick is the unit of the times in proc(5), stat: 100 a second on every Linux of Go.
const clockTick = 10 * time.Millisecond

// cpu returns the processor time of a process.
func cpu(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, found := strings.Cut(string(text), ") ") // the name may contain spaces
	fields := strings.Fields(rest)
	if err != nil || !found || len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick
}

// cpuOf returns the processor time of all participants, by the name of the program.
func (s *stand) cpuOf() map[string]time.Duration {
	pids, err := cluster.Recorded(filepath.Join(s.dir, "cluster"))
	if err != nil {
		return nil
	}
	used := map[string]time.Duration{"bench": cpu(os.Getpid())}
	for _, pid := range append(pids, s.manager.PID) {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil {
			used[strings.TrimSpace(string(name))] += cpu(pid)
		}
	}
	return used
}

// shares returns the processor time of each program since before.
func (s *stand) shares(before map[string]time.Duration) string {
	var said []string
	after := s.cpuOf()
	for _, name := range []string{"manager", "kube-apiserver", "etcd", "bench"} {
		said = append(said, fmt.Sprintf("%s %.1fs", name, (after[name]-before[name]).Seconds()))
	}
	return strings.Join(said, ", ")
}
