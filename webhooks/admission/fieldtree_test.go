package admission

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// TestWithoutIsTheDifferenceOfTheSets holds the copying against the library whose format it is.
func TestWithoutIsTheDifferenceOfTheSets(t *testing.T) {
	images := fieldAt("f:spec", "f:containers", elementKey("c0"), "f:image")
	images.at("f:spec", "f:containers", elementKey("c0"), "f:imagePullPolicy")
	images.at("f:spec", "f:containers", elementKey("c1"), "f:image")
	container := func(name string) fieldpath.Path {
		return fieldpath.MakePathOrDie("spec", "containers", fieldpath.KeyByFields("name", name))
	}
	unwanted := fieldpath.NewSet(
		append(container("c0"), fieldpath.MakePathOrDie("image")...),
		append(container("c0"), fieldpath.MakePathOrDie("imagePullPolicy")...),
		append(container("c1"), fieldpath.MakePathOrDie("image")...),
	)
	for name, owned := range map[string]string{
		"all of a container":             `{"f:spec":{"f:containers":{"k:{\"name\":\"c0\"}":{".":{},"f:env":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{}}},"f:dnsPolicy":{}}}`,
		"of several containers":          `{"f:spec":{"f:containers":{"k:{\"name\":\"c0\"}":{".":{},"f:image":{}},"k:{\"name\":\"c1\"}":{"f:image":{},"f:name":{}},"k:{\"name\":\"c2\"}":{"f:image":{}}}}}`,
		"the first of its members":       `{"f:spec":{"f:containers":{"k:{\"name\":\"c1\"}":{"f:image":{},"f:name":{}}}}}`,
		"the last of its members":        `{"f:spec":{"f:containers":{"k:{\"name\":\"c1\"}":{"f:args":{},"f:image":{}}}}}`,
		"nothing but the image":          `{"f:spec":{"f:containers":{"k:{\"name\":\"c0\"}":{"f:image":{}}}}}`,
		"nothing but images":             `{"f:spec":{"f:containers":{"k:{\"name\":\"c0\"}":{"f:image":{}},"k:{\"name\":\"c1\"}":{"f:image":{}}}}}`,
		"an image, and something beside": `{"f:metadata":{"f:labels":{}},"f:spec":{"f:containers":{"k:{\"name\":\"c0\"}":{"f:image":{}}}}}`,
		"the container itself":           `{"f:spec":{"f:containers":{"k:{\"name\":\"c0\"}":{}}}}`,
		"the list itself":                `{"f:spec":{"f:containers":{}}}`,
		"another list's image":           `{"f:spec":{"f:initContainers":{"k:{\"name\":\"c0\"}":{"f:image":{}}}}}`,
		"a name that is spelt otherwise": `{"f:spec":{"f:containers":{"k:{\u0022name\u0022:\"c0\"}":{"f:image":{},"f:name":{}}}}}`,
		"white space":                    "{ \"f:spec\" : {\n\"f:containers\":{\"k:{\\\"name\\\":\\\"c0\\\"}\":{\"f:image\": { }, \"f:name\":{} } } } }",
		"nothing":                        `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			left, had, err := without(metav1.NewFieldsV1(owned), images)
			if err != nil {
				t.Fatal(err)
			}
			before, after := setOf(t, owned), setOf(t, left)
			if want := before.Difference(unwanted); !after.Equals(want) {
				t.Errorf("left is %s, want %s", after, want)
			}
			if want := !before.Intersection(unwanted).Empty(); had != want {
				t.Errorf("had is %v, want %v", had, want)
			}
		})
	}
}

func setOf(t *testing.T, fields string) *fieldpath.Set {
	t.Helper()
	set := &fieldpath.Set{}
	if err := set.FromJSON(strings.NewReader(fields)); err != nil {
		t.Fatalf("%s: %v", fields, err)
	}
	return set
}

func TestWithoutRefusesWhatIsNoFieldsV1(t *testing.T) {
	for _, fields := range []string{``, `{`, `[]`, `"f:spec"`, `{"f:spec":[]}`, `{"f:spec":{"f:generation":}}`, `{"f:spec":{"f:generation":{}}`} {
		if left, _, err := without(metav1.NewFieldsV1(fields), generationField); err == nil {
			t.Errorf("%s: left is %s, want an error", fields, left)
		}
	}
}
