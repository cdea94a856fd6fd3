package cluster

import (
	"fmt"
	"os"
	"syscall"
)

// Ended is closed when the manager's process has ended, by itself or not. It is only for managers that StartManager made.
func (m *Manager) Ended() <-chan struct{} { return m.process.done }

// State says how the manager's process ended, once it has.
func (m *Manager) State() *os.ProcessState { return m.process.cmd.ProcessState }

// Signal sends the manager's process a signal, such as SIGKILL, SIGSTOP or SIGCONT.
func (m *Manager) Signal(signal syscall.Signal) error {
	if err := m.process.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("send %s to the manager: %w", signal, err)
	}
	return nil
}
