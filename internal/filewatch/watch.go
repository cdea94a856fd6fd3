package filewatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// reloadInterval is how often a file is looked at. The kubelet swaps a symlink when a ConfigMap changes, so looking at
	// the content is what works everywhere.
	reloadInterval = 2 * time.Second

	// maxWatched bounds a file, in bytes: no ConfigMap holds more.
	maxWatched = 1 << 20
)

// WatchedFile is a file that the administrator may edit while we run. The zero value is none.
type WatchedFile struct {
	Path string
	// apply puts the content in force, nil when there is no file. What it refuses comes once: it counts as seen.
	apply  func(content []byte) (changed bool, err error)
	report func(error)
	clock  clock.WithTicker

	// looked says that seen is the content that was looked at last, in force or refused; complaint is what was reported
	// last. Whoever loads, and then Start's goroutine, has them alone.
	looked    bool
	seen      []byte
	complaint string

	callbacksMutex sync.Mutex
	callbacks      []func()
}

// Watch says which file. A nil clock means the system's.
func (w *WatchedFile) Watch(path string, apply func([]byte) (bool, error), report func(error), from clock.WithTicker) {
	if from == nil {
		from = clock.RealClock{}
	}
	w.Path, w.apply, w.report, w.clock = path, apply, report, from
}

// OnChange adds what is called after every change that counts. Start calls it, and waits for it.
func (w *WatchedFile) OnChange(callback func()) {
	w.callbacksMutex.Lock()
	defer w.callbacksMutex.Unlock()
	w.callbacks = append(w.callbacks, callback)
}

// Start looks at the file every two seconds until ctx ends.
func (w *WatchedFile) Start(ctx context.Context) error {
	if w.Path == "" {
		<-ctx.Done()
		return nil
	}
	ticker := w.clock.NewTicker(reloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			w.look()
		}
	}
}

// NeedLeaderElection is false: every replica needs to know.
func (w *WatchedFile) NeedLeaderElection() bool { return false }

func (w *WatchedFile) look() {
	changed, err := w.Load()
	w.complain(err)
	if !changed {
		return
	}
	w.callbacksMutex.Lock()
	callbacks := w.callbacks
	w.callbacksMutex.Unlock()
	for _, callback := range callbacks {
		callback()
	}
}

// complain reports a problem when it appears, not every two seconds.
func (w *WatchedFile) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != w.complaint {
		w.report(err)
	}
	w.complaint = text
}

// Load applies the file when its content is another than the last time.
func (w *WatchedFile) Load() (changed bool, err error) {
	content, err := w.read()
	if err != nil || w.looked && bytes.Equal(content, w.seen) && (content == nil) == (w.seen == nil) {
		return false, err
	}
	w.looked, w.seen = true, content
	return w.apply(content)
}

// read is the content of the file, nil without one.
func (w *WatchedFile) read() ([]byte, error) {
	if w.Path == "" {
		return nil, nil
	}
	file, err := os.Open(w.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", w.Path, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxWatched+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", w.Path, err)
	}
	if len(content) > maxWatched {
		return nil, fmt.Errorf("%s is larger than %d bytes", w.Path, maxWatched)
	}
	return content, nil
}
