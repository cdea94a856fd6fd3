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

// apiServerBackoff is how often an API server that is away is tried: every few seconds, however long it has been.
var apiServerBackoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Cap: 4 * time.Second, Steps: math.MaxInt, Jitter: 0.5}

// ownUsername is the manager's own name, as admission sees it. It waits for the API server: ending, only to be started again,
// would make the kubelet wait longer each time, after the API server is back too. One that has just started refuses
// whatever it has no rules for yet, so that is no reason to end either.
func ownUsername(ctx context.Context, cluster *rest.Config) (string, error) {
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return "", fmt.Errorf("connecting to the API server: %w", err)
	}
	var username string
	err = apiServerBackoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			ctrl.Log.WithName("apiserver").Info("the API server does not say who we are; asking again", "error", err.Error())
			return false, nil
		}
		username = review.Status.UserInfo.Username
		return true, nil
	})
	if err != nil {
		return "", fmt.Errorf("asking the API server who we are: %w", err)
	}
	return username, nil
}

// reconnecting tries watches again that do not reach the API server. client-go does, too, but waits up to a minute in the
// end, and an informer cannot be told otherwise (kubernetes/kubernetes#136943): after an outage of a minute, admission
// would go on answering from the past for another.
type reconnecting struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (r reconnecting) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet || request.URL.Query().Get("watch") != "true" {
		return r.next.RoundTrip(request)
	}
	var response *http.Response
	var failure error
	_ = apiServerBackoff.DelayFunc().Until(request.Context(), true, true, func(context.Context) (bool, error) {
		response, failure = r.next.RoundTrip(request) //nolint:bodyclose // it is the caller's to close
		return failure == nil, nil
	})
	return response, failure
}

// WrappedRoundTripper implements net.RoundTripperWrapper, so that idle connections are found.
func (r reconnecting) WrappedRoundTripper() http.RoundTripper { return r.next }
