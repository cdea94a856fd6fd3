package push

import "net/http"

// parseACR returns the hint of a push of an image (Azure Container Registry, "Webhook reference").
func parseACR(_ http.Header, body []byte) ([]Hint, error) {
	var event distributionEvent
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	if event.Action == "" {
		return nil, missing("action")
	}
	return event.hints()
}
