package push

import "net/http"

// distributionEvent is an event of CNCF Distribution, and a notification of Azure Container Registry.
type distributionEvent struct {
	Action string `json:"action"`
	Target *struct {
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
	} `json:"target"`
	Request *struct {
		Host string `json:"host"`
	} `json:"request"`
}

// hints returns the hint of the event. A push without a tag is one of a blob, or by digest.
func (e distributionEvent) hints() ([]Hint, error) {
	switch {
	case e.Action != "push":
		return nil, nil
	case e.Target == nil:
		return nil, missing("target")
	case e.Target.Tag == "":
		return nil, nil
	case e.Request == nil:
		return nil, missing("request")
	case e.Target.Repository == "":
		return nil, missing("target.repository")
	default:
		return []Hint{{Registry: e.Request.Host, Repository: e.Target.Repository, Tag: e.Target.Tag}}, nil
	}
}

// parseDistribution returns a hint for each push of a tag (CNCF Distribution, "Work with notifications"; GitLab, "Container
// registry notifications").
func parseDistribution(_ http.Header, body []byte) ([]Hint, error) {
	var envelope struct {
		Events []distributionEvent `json:"events"`
	}
	if err := decode(body, &envelope); err != nil {
		return nil, err
	}
	if envelope.Events == nil {
		return nil, missing("events")
	}
	var hints []Hint
	for _, event := range envelope.Events {
		found, err := event.hints()
		if err != nil {
			return nil, err
		}
		if hints = append(hints, found...); len(hints) > maxHints {
			return nil, errTooManyHints
		}
	}
	return hints, nil
}
