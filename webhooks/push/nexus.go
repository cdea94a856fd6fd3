package push

import "net/http"

// parseNexus returns the hint of a created or updated Docker component (Sonatype Nexus Repository, "Working With Repository
// Webhooks").
func parseNexus(header http.Header, body []byte) ([]Hint, error) {
	if header.Get("X-Nexus-Webhook-Id") != "rm:repository:component" {
		return nil, nil
	}
	var event struct {
		Action    string `json:"action"`
		Component *struct {
			Format  string `json:"format"`
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"component"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	switch {
	case event.Action != "CREATED" && event.Action != "UPDATED":
		return nil, nil
	case event.Component == nil:
		return nil, missing("component")
	case event.Component.Format != "docker" || isDigest(event.Component.Version):
		return nil, nil
	case event.Component.Name == "":
		return nil, missing("component.name")
	case event.Component.Version == "":
		return nil, missing("component.version")
	}
	return []Hint{{Repository: event.Component.Name, Tag: event.Component.Version}}, nil
}
