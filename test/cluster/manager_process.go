package cluster

import (
	"fmt"
	"os"
	"syscall"
)

// Ended returns a channel that is closed when the manager's process exits. It is only for managers of StartManager.
func (m *Manager) Ended() <-chan struct{} { return m.process.done }

// State returns how the manager's process exited, once it has.
func (m *Manager) State() *os.ProcessState { return m.process.cmd.ProcessState }

// Signal sends the manager's process a signal, such as SIGKILL, SIGSTOP or SIGCONT.
func (m *Manager) Signal(signal syscall.Signal) error {
	if err := m.process.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("send %s to the manager: %w", signal, err)
	}
	return nil
}
