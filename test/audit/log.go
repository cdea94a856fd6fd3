package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// ReadFiles returns the events of audit logs, such as one and its rotated files, or those of several API servers.
func ReadFiles(paths ...string) ([]auditv1.Event, error) {
	var events []auditv1.Event
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open an audit log: %w", err)
		}
		more, err := Read(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("audit log %s: %w", path, err)
		}
		events = append(events, more...)
	}
	return events, nil
}

// Read returns the events of an audit log. It leaves out a truncated line at the end, after the API server was killed during a
// write.
func Read(log io.Reader) ([]auditv1.Event, error) {
	var events []auditv1.Event
	decoder := json.NewDecoder(log)
	for {
		var event auditv1.Event
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read event %d: %w", len(events)+1, err)
		}
		events = append(events, event)
	}
}
