package audit

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// RBAC has the roles and bindings of an installation.
type RBAC struct {
	ClusterRoles        []rbacv1.ClusterRole
	Roles               []rbacv1.Role
	ClusterRoleBindings []rbacv1.ClusterRoleBinding
	RoleBindings        []rbacv1.RoleBinding
}

// Live reads the roles and bindings of the cluster.
func Live(ctx context.Context, cluster client.Reader) (RBAC, error) {
	var (
		clusterRoles        rbacv1.ClusterRoleList
		roles               rbacv1.RoleList
		clusterRoleBindings rbacv1.ClusterRoleBindingList
		roleBindings        rbacv1.RoleBindingList
	)
	for _, list := range []client.ObjectList{&clusterRoles, &roles, &clusterRoleBindings, &roleBindings} {
		if err := cluster.List(ctx, list); err != nil {
			return RBAC{}, fmt.Errorf("list what RBAC grants: %w", err)
		}
	}
	return RBAC{clusterRoles.Items, roles.Items, clusterRoleBindings.Items, roleBindings.Items}, nil
}

// Rendered reads the roles and bindings of manifests, and ignores other kinds.
func Rendered(objects []*unstructured.Unstructured) (RBAC, error) {
	var rbac RBAC
	for _, object := range objects {
		if object.GroupVersionKind().Group != rbacv1.GroupName {
			continue
		}
		if err := rbac.add(object); err != nil {
			return RBAC{}, fmt.Errorf("read %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return rbac, nil
}

func (r *RBAC) add(object *unstructured.Unstructured) error {
	switch object.GetKind() {
	case "ClusterRole":
		return appendTo(&r.ClusterRoles, object)
	case "Role":
		return appendTo(&r.Roles, object)
	case "ClusterRoleBinding":
		return appendTo(&r.ClusterRoleBindings, object)
	case "RoleBinding":
		return appendTo(&r.RoleBindings, object)
	default:
		return fmt.Errorf("%s is no kind that this knows of %s", object.GetKind(), rbacv1.GroupName)
	}
}

func appendTo[T any](list *[]T, object *unstructured.Unstructured) error {
	var typed T
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true)
	*list = append(*list, typed)
	return err
}
