package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// answers returns an error unless a GET of the URL has a response with one of the codes.
func answers(ctx context.Context, client *http.Client, url string, codes ...int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	defer response.Body.Close()
	if !slices.Contains(codes, response.StatusCode) {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
