package audit

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// grant is the smallest right of RBAC: one verb on one resource, or on one path, in one role.
type grant struct {
	role      string // kind and name, for messages
	namespace string // empty means all, and cluster-scoped objects
	verb      string
	group     string
	resource  string // with a subresource: resource/subresource
	name      string // empty means any
	path      string // of a non-resource URL, instead of group, resource and name
}

// grantsOf returns the grants of the bindings that name the user, not those of the groups that every account is in.
func (r RBAC) grantsOf(user string) ([]grant, error) {
	var all []grant
	for _, binding := range r.ClusterRoleBindings {
		if !names(binding.Subjects, user) {
			continue
		}
		rules, err := r.rules(binding.RoleRef, "")
		if err != nil {
			return nil, fmt.Errorf("ClusterRoleBinding %s: %w", binding.Name, err)
		}
		all = append(all, atoms(binding.RoleRef, "", rules)...)
	}
	for _, binding := range r.RoleBindings {
		if !names(binding.Subjects, user) {
			continue
		}
		rules, err := r.rules(binding.RoleRef, binding.Namespace)
		if err != nil {
			return nil, fmt.Errorf("RoleBinding %s/%s: %w", binding.Namespace, binding.Name, err)
		}
		all = append(all, atoms(binding.RoleRef, binding.Namespace, rules)...)
	}
	return all, nil
}

func names(subjects []rbacv1.Subject, user string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			return user == "system:serviceaccount:"+s.Namespace+":"+s.Name
		case rbacv1.UserKind:
			return user == s.Name
		default:
			return false
		}
	})
}

// rules returns the rules of the referenced role, in the namespace of the binding if it is a Role.
func (r RBAC) rules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	for _, role := range r.ClusterRoles {
		if ref.Kind == "ClusterRole" && role.Name == ref.Name {
			return role.Rules, nil
		}
	}
	for _, role := range r.Roles {
		if ref.Kind == "Role" && role.Name == ref.Name && role.Namespace == namespace {
			return role.Rules, nil
		}
	}
	return nil, fmt.Errorf("there is no %s %s", ref.Kind, ref.Name)
}

// atoms splits rules into grants.
func atoms(ref rbacv1.RoleRef, namespace string, rules []rbacv1.PolicyRule) []grant {
	var all []grant
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			base := grant{role: ref.Kind + " " + ref.Name, namespace: namespace, verb: verb}
			all = append(all, base.onPaths(rule)...)
			all = append(all, base.onResources(rule)...)
		}
	}
	return all
}

func (g grant) onPaths(rule rbacv1.PolicyRule) []grant {
	var all []grant
	for _, g.path = range rule.NonResourceURLs {
		all = append(all, g)
	}
	return all
}

func (g grant) onResources(rule rbacv1.PolicyRule) []grant {
	objects := rule.ResourceNames
	if len(objects) == 0 {
		objects = []string{""}
	}
	var all []grant
	for _, g.group = range rule.APIGroups {
		for _, g.resource = range rule.Resources {
			for _, g.name = range objects {
				all = append(all, g)
			}
		}
	}
	return all
}

// uses reports whether a request needs the grant. A wildcard never counts as used: it grants more than any log can show.
func (g grant) uses(event auditv1.Event) bool {
	if g.verb != event.Verb {
		return false
	}
	if g.path != "" || event.ObjectRef == nil {
		path, _, _ := strings.Cut(event.RequestURI, "?")
		return event.ObjectRef == nil && g.path == path
	}
	ref := event.ObjectRef
	return g.group == ref.APIGroup && g.resource == resource(ref) &&
		(g.namespace == "" || g.namespace == ref.Namespace) &&
		(g.name == "" || g.name == ref.Name)
}

func resource(ref *auditv1.ObjectReference) string {
	if ref.Subresource == "" {
		return ref.Resource
	}
	return ref.Resource + "/" + ref.Subresource
}

// String names the grant in the form "patch tags.images.io, of ClusterRole manager-role".
func (g grant) String() string {
	what := g.path
	if what == "" {
		what = qualified(g.group, g.resource)
	}
	if g.name != "" {
		what += " " + g.name
	}
	if g.namespace != "" {
		what += " in " + g.namespace
	}
	return fmt.Sprintf("%s %s, of %s", g.verb, what, g.role)
}

// qualified returns resource.group[/subresource], as kubectl writes it.
func qualified(group, resource string) string {
	if group == "" {
		return resource
	}
	main, subresource, has := strings.Cut(resource, "/")
	if has {
		return main + "." + group + "/" + subresource
	}
	return main + "." + group
}
