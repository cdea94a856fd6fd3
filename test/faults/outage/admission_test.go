//go:build faults

package outage

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/images-io/tagger/test/cluster"
)

// reviewer sends reviews to a manager, as the API server does, while the API server is down.
type reviewer struct {
	url    string
	client *http.Client
}

func newReviewer(webhook *cluster.Webhook) *reviewer {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(webhook.Endpoint.CABundle)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	return &reviewer{
		url:    webhook.Endpoint.URL + "/pin-workload?timeout=5s",
		client: &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}
}

// pins returns an error unless a Deployment that names the Tag is admitted, and gets the image.
func (r *reviewer) pins(ctx context.Context, tag, image string) error {
	response, err := r.review(ctx, deployment("new", tag))
	if err != nil {
		return err
	}
	if !response.Allowed {
		return fmt.Errorf("refused: %s", response.Result.Message)
	}
	if !strings.Contains(string(response.Patch), image) {
		return fmt.Errorf("the patch does not write %s: %s", image, response.Patch)
	}
	return nil
}

// review asks for the admission of a new object.
func (r *reviewer) review(ctx context.Context, object runtime.Object) (*admissionv1.AdmissionResponse, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	const uid = types.UID("7d0f2f4e-0000-4000-8000-000000000001")
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       uid,
			Kind:      metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
			Resource:  metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
			Namespace: namespace, Name: "new", Operation: admissionv1.Create,
			Object: runtime.RawExtension{Raw: raw},
		},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admission answers %s", answer.Status)
	}
	var answered admissionv1.AdmissionReview
	if err := json.NewDecoder(answer.Body).Decode(&answered); err != nil {
		return nil, fmt.Errorf("the answer was cut: %w", err)
	}
	if answered.Response == nil || answered.Response.UID != uid {
		return nil, fmt.Errorf("the answer is to another review: %+v", answered)
	}
	return answered.Response, nil
}
