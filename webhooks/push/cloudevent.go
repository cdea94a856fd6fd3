package push

import (
	"encoding/json"
	"net/http"
)

// cloudEvent is an event in the structured or the binary content mode (CloudEvents 1.0, "HTTP Protocol Binding", section 3).
type cloudEvent struct {
	Type string
	Data []byte
}

// parseCloudEvent returns the event of a request. It returns false for a request that is not a CloudEvent.
func parseCloudEvent(header http.Header, body []byte) (cloudEvent, bool, error) {
	if header.Get("Ce-Specversion") != "" {
		return cloudEvent{Type: header.Get("Ce-Type"), Data: body}, true, nil
	}
	var event struct {
		SpecVersion string          `json:"specversion"`
		Type        string          `json:"type"`
		Data        json.RawMessage `json:"data"`
		DataBase64  []byte          `json:"data_base64"`
	}
	if err := decode(body, &event); err != nil {
		return cloudEvent{}, false, err
	}
	data := []byte(event.Data)
	if len(data) == 0 {
		data = event.DataBase64
	}
	return cloudEvent{Type: event.Type, Data: data}, event.SpecVersion != "", nil
}
