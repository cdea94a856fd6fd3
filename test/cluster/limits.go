package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// ShippedLimits are the limits that config/manager sets for the manager.
type ShippedLimits struct {
	// Memory is the limit of the container in bytes, above which the kernel kills it.
	Memory uint64

	// Env holds config/manager's settings of the Go runtime, for ManagerOptions.Env.
	Env []string
}

// ReadShippedLimits reads the limits from config/manager/manager.yaml.
func ReadShippedLimits() (ShippedLimits, error) {
	root, err := Root()
	if err != nil {
		return ShippedLimits{}, err
	}
	manifest, err := os.ReadFile(filepath.Join(root, "config", "manager", "manager.yaml"))
	if err != nil {
		return ShippedLimits{}, fmt.Errorf("read the manager's manifest: %w", err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(manifest, &deployment); err != nil {
		return ShippedLimits{}, fmt.Errorf("read the manager's manifest: %w", err)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	memory := container.Resources.Limits[corev1.ResourceMemory]
	limits := ShippedLimits{Memory: uint64(memory.Value())}
	for _, variable := range container.Env {
		if strings.HasPrefix(variable.Name, "GO") {
			limits.Env = append(limits.Env, variable.Name+"="+variable.Value)
		}
	}
	if limits.Memory == 0 || len(limits.Env) == 0 {
		return limits, errors.New("config/manager/manager.yaml has no memory limit or no settings of the Go runtime")
	}
	return limits, nil
}

// PeakMemory returns the highest resident memory of the manager's process so far, in bytes: VmHWM of proc(5). It is only for
// managers of StartManager.
func (m *Manager) PeakMemory() (uint64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID))
	if err != nil {
		return 0, fmt.Errorf("read the manager's memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kibibytes, err := strconv.ParseUint(fields[1], 10, 64)
			return kibibytes << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmHWM", m.PID)
}
