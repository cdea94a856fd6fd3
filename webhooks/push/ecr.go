package push

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
)

var (
	ecrAccount = regexp.MustCompile(`^[0-9]{12}$`)
	ecrRegion  = regexp.MustCompile(`^[a-z]{2}[a-z0-9-]{1,30}$`)
)

// parseECR returns the hint of a completed push of an image that EventBridge sends (Amazon ECR, "Amazon ECR events and
// EventBridge").
func parseECR(_ http.Header, body []byte) ([]Hint, error) {
	var event struct {
		Source     string `json:"source"`
		DetailType string `json:"detail-type"`
		Account    string `json:"account"`
		Region     string `json:"region"`
		Detail     *struct {
			Result     string `json:"result"`
			Action     string `json:"action-type"`
			Repository string `json:"repository-name"`
			Tag        string `json:"image-tag"`
		} `json:"detail"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	switch {
	case event.Source != "aws.ecr" || event.DetailType != "ECR Image Action":
		return nil, nil
	case event.Detail == nil:
		return nil, missing("detail")
	case event.Detail.Result != "SUCCESS" || event.Detail.Action != "PUSH" || event.Detail.Tag == "":
		return nil, nil
	case !ecrAccount.MatchString(event.Account):
		return nil, errors.New("the field account is not an account ID of 12 digits")
	case !ecrRegion.MatchString(event.Region):
		return nil, errors.New("the field region is not a region")
	case event.Detail.Repository == "":
		return nil, missing("detail.repository-name")
	}
	registry := event.Account + ".dkr.ecr." + event.Region + ".amazonaws.com"
	if strings.HasPrefix(event.Region, "cn-") {
		registry += ".cn"
	}
	return []Hint{{Registry: registry, Repository: event.Detail.Repository, Tag: event.Detail.Tag}}, nil
}
