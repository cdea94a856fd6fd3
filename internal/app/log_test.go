package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// TestALineBreakNeverStartsALogLine tests S14: text of a tenant or a registry stays inside the line that quotes it.
func TestALineBreakNeverStartsALogLine(t *testing.T) {
	for name, lineBreak := range map[string]string{
		"line feed": "\n", "carriage return": "\r", "both": "\r\n", "vertical tab": "\v", "form feed": "\f",
		"escape sequence": "\x1b[2K\x1b[1G",
		"quote first":     "\"}\n", "invalid UTF-8": "\xff\n",
	} {
		t.Run(name, func(t *testing.T) {
			forged := "app" + lineBreak + `{"level":"error","message":"forged"}`
			var logs bytes.Buffer
			logger := zap.New(zap.WriteTo(&logs), zap.UseDevMode(false), zap.Encoder(encoder()))
			logger.WithName(forged).WithValues(forged, forged).Info(forged, "image", forged, "names", []string{forged}, "tag", map[string]string{forged: forged})
			logger.Error(errors.New(forged), forged)
			lines := strings.FieldsFunc(logs.String(), func(r rune) bool { return strings.ContainsRune("\n\r\v\f", r) })
			if len(lines) != 2 {
				t.Fatalf("%d lines for two entries:\n%s", len(lines), logs.String())
			}
			for _, line := range lines {
				var entry struct{ Level, Message string }
				if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Message == "forged" {
					t.Errorf("%v in %s", err, line)
				}
			}
			if strings.Contains(logs.String(), "\x1b") {
				t.Errorf("a control character is in the log: %q", logs.String())
			}
		})
	}
}
