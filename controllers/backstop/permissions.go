package backstop

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// permissions is what BackstopReconciler does, and what config/components/managed-backstop grants.
var permissions = []struct {
	group, resource, name string
	verbs                 []string
}{
	{"admissionregistration.k8s.io", "validatingadmissionpolicies", Name, []string{"list", "watch", "create", "patch", "delete"}},
	{"admissionregistration.k8s.io", "validatingadmissionpolicybindings", Name, []string{"list", "watch", "create", "patch", "delete"}},
	{"admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", []string{"list", "watch"}},
	{"apiextensions.k8s.io", "customresourcedefinitions", TagDefinition, []string{"list", "watch"}},
}

// missingPermissions returns the permissions that the API server would refuse, each as verb and resource.
func missingPermissions(ctx context.Context, api client.Client) ([]string, error) {
	var missing []string
	for _, p := range permissions {
		for _, verb := range p.verbs {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: p.group, Resource: p.resource, Name: p.name},
			}}
			if err := api.Create(ctx, review); err != nil {
				return nil, fmt.Errorf("asking what the manager may do: %w", err)
			}
			if !review.Status.Allowed {
				missing = append(missing, verb+" "+p.resource)
			}
		}
	}
	return missing, nil
}
