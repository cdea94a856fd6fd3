package push

import (
	"errors"
	"net/http"
)

// parseGAR returns the hint of a push to Google Artifact Registry that a push subscription of Pub/Sub sends (Artifact Registry,
// "Configure Pub/Sub notifications"; Pub/Sub, "Push subscriptions").
func parseGAR(_ http.Header, body []byte) ([]Hint, error) {
	var envelope struct {
		Message *struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := decode(body, &envelope); err != nil {
		return nil, err
	}
	if envelope.Message == nil || len(envelope.Message.Data) == 0 {
		return nil, missing("message.data")
	}
	var event struct {
		Action string `json:"action"`
		Tag    string `json:"tag"`
	}
	if err := decode(envelope.Message.Data, &event); err != nil {
		return nil, err
	}
	if event.Action != "INSERT" || event.Tag == "" {
		return nil, nil
	}
	hint, err := hintOf(event.Tag)
	if err != nil || hint.Tag == "" {
		return nil, errors.New("the field tag is not HOST/REPOSITORY:TAG")
	}
	return []Hint{hint}, nil
}
