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

	// maxSize bounds a file, in bytes: no ConfigMap holds more.
	maxSize = 1 << 20
)

// File is a file that the administrator may edit while we run. The zero value is none.
type File struct {
	Path string
	// apply puts the content in force, nil when there is no file. What it refuses comes once: it counts as seen.
	apply  func(content []byte) (changed bool, err error)
	report func(error)
	clock  clock.WithTicker

	// checked says that seen is the content that was looked at last, in force or refused; complaint is what was reported
	// last. Only the caller that loads uses them, and then Start's goroutine.
	checked  bool
	seen     []byte
	reported string

	callbacksMutex sync.Mutex
	callbacks      []func()
}

// Watch says which file. A nil clock means the system's.
func (w *File) Watch(path string, apply func([]byte) (bool, error), report func(error), from clock.WithTicker) {
	if from == nil {
		from = clock.RealClock{}
	}
	w.Path, w.apply, w.report, w.clock = path, apply, report, from
}

// OnChange adds what is called after every change that counts. Start calls it, and waits for it.
func (w *File) OnChange(callback func()) {
	w.callbacksMutex.Lock()
	defer w.callbacksMutex.Unlock()
	w.callbacks = append(w.callbacks, callback)
}

// Start looks at the file every two seconds until ctx ends.
func (w *File) Start(ctx context.Context) error {
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
			w.check()
		}
	}
}

// NeedLeaderElection returns false: every replica needs to know.
func (w *File) NeedLeaderElection() bool { return false }

func (w *File) check() {
	changed, err := w.Load()
	w.reportOnce(err)
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

// reportOnce reports a problem when it appears, not every two seconds.
func (w *File) reportOnce(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != w.reported {
		w.report(err)
	}
	w.reported = text
}

// Load applies the file when its content is another than the last time.
func (w *File) Load() (changed bool, err error) {
	content, err := w.read()
	if err != nil || w.checked && bytes.Equal(content, w.seen) && (content == nil) == (w.seen == nil) {
		return false, err
	}
	w.checked, w.seen = true, content
	return w.apply(content)
}

// read returns the content of the file, nil without one.
func (w *File) read() ([]byte, error) {
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
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", w.Path, err)
	}
	if len(content) > maxSize {
		return nil, fmt.Errorf("%s is larger than %d bytes", w.Path, maxSize)
	}
	return content, nil
}
