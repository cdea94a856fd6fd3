package app

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// apiServerBackoff is the time between attempts to reach the API server: 4 s at most, without an end.
var apiServerBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Cap: 4 * time.Second, Steps: math.MaxInt, Jitter: 0.5}

// ownUsername returns the manager's own username, as admission sees it. It waits for the API server. If the manager exited
// instead, the kubelet would restart it at ever longer intervals, also after the API server is back. An API server that has
// just started forbids requests until it has its RBAC rules, so ownUsername retries those, too.
func ownUsername(ctx context.Context, cluster *rest.Config) (string, error) {
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return "", fmt.Errorf("connecting to the API server: %w", err)
	}
	var username string
	err = apiServerBackoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			ctrl.Log.WithName("apiserver").Info("cannot read the manager's username from the API server, retrying", "error", err.Error())
			return false, nil
		}
		username = review.Status.UserInfo.Username
		return true, nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the manager's username from the API server: %w", err)
	}
	return username, nil
}

// reconnecting retries watches that do not reach the API server. client-go does so, too, but waits up to a minute, which an
// informer cannot configure (kubernetes/kubernetes#136943): after an outage of a minute, admission would respond from an old
// cache for another minute.
type reconnecting struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (r reconnecting) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet || request.URL.Query().Get("watch") != "true" {
		return r.next.RoundTrip(request)
	}
	var response *http.Response
	var failure error
	_ = apiServerBackoff.DelayFunc().Until(request.Context(), true, true, func(context.Context) (bool, error) {
		response, failure = r.next.RoundTrip(request) //nolint:bodyclose // the caller closes it
		return failure == nil, nil
	})
	return response, failure
}

// WrappedRoundTripper implements net.RoundTripperWrapper, which client-go needs to close idle connections.
func (r reconnecting) WrappedRoundTripper() http.RoundTripper { return r.next }
