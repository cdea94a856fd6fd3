package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"k8s.io/utils/clock"
)

const (
	// reloadInterval is how often the file is looked at. The kubelet swaps a symlink when a ConfigMap changes, so looking at
	// the content is what works everywhere.
	reloadInterval = 2 * time.Second

	// maxConf bounds the file, in bytes: no ConfigMap holds more.
	maxConf = 1 << 20
)

// LoadRegistriesConf reads the file at path. No file, and an empty path, mean no configuration; a malformed file is an
// error. Once Start runs, the file may change: a malformed one is then given to report, once, and the last good one stays
// in force. A nil clock means the system's.
func LoadRegistriesConf(path string, report func(error), from clock.WithTicker) (*RegistriesConf, error) {
	if from == nil {
		from = clock.RealClock{}
	}
	loaded := &RegistriesConf{path: path, report: report, clock: from}
	if _, err := loaded.reload(); err != nil {
		return nil, err
	}
	return loaded, nil
}

// OnChange adds what is called after every change of what the administrator says. Start calls it, and waits for it.
func (c *RegistriesConf) OnChange(callback func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.callbacks = append(c.callbacks, callback)
}

// Start looks at the file every two seconds until ctx ends.
func (c *RegistriesConf) Start(ctx context.Context) error {
	if c.path == "" {
		<-ctx.Done()
		return nil
	}
	ticker := c.clock.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			c.look()
		}
	}
}

// NeedLeaderElection is false: every replica admits Tags and needs to know.
func (c *RegistriesConf) NeedLeaderElection() bool { return false }

func (c *RegistriesConf) look() {
	changed, err := c.reload()
	c.complain(err)
	if !changed {
		return
	}
	c.mutex.RLock()
	callbacks := c.callbacks
	c.mutex.RUnlock()
	for _, callback := range callbacks {
		callback()
	}
}

// complain reports a problem when it appears, not every two seconds.
func (c *RegistriesConf) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != c.complaint {
		c.report(err)
	}
	c.complaint = text
}

// reload puts the file in force when its content is another than the last time. The error of a malformed file comes once:
// its content counts as seen.
func (c *RegistriesConf) reload() (changed bool, err error) {
	content, err := c.read()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err != nil || bytes.Equal(content, c.seen) && (content == nil) == (c.seen == nil) {
		return false, err
	}
	c.seen = content
	if content == nil {
		changed, c.inForce, c.unqualified = c.inForce, false, ""
		return changed, nil
	}
	configured, err := sysregistriesv2.TryUpdatingCache(c.system())
	if err != nil {
		return false, fmt.Errorf("registries.conf is malformed: %w", err)
	}
	c.inForce, c.unqualified = true, only(configured.UnqualifiedSearchRegistries)
	return true, nil
}

// read is the content of the file, nil without one.
func (c *RegistriesConf) read() ([]byte, error) {
	if c.path == "" {
		return nil, nil
	}
	file, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening registries.conf: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxConf+1))
	if err != nil {
		return nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	if len(content) > maxConf {
		return nil, fmt.Errorf("registries.conf is larger than %d bytes", maxConf)
	}
	return content, nil
}

// only is the one value, or empty.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
