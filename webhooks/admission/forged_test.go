package admission_test

import (
	"encoding/json"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/pin"
	"github.com/images-io/tagger/webhooks/admission"
)

const evilImage = "evil.example/x@sha256:6666666666666666666666666666666666666666666666666666666666666666"

// TestRecordsAndRequestsThatAUserForges tests S19: neither makes admission write an image that no Tag of the namespace has.
func TestRecordsAndRequestsThatAUserForges(t *testing.T) {
	entry := func(tag, image string) string { return pin.Record{"app": {Tag: tag, Image: image}}.Format() }
	genuine, placeholder := entry("myapp", newImage), "not-imported.invalid/dev/theirs"
	for name, row := range map[string]struct {
		stored                   *appsv1.Deployment // nil on create
		image, record, requested string
		want                     string
	}{
		"a request for a foreign image is looked up":          {annotated(newImage, genuine), newImage, genuine, entry("myapp", evilImage), newImage},
		"a request on create is looked up":                    {nil, "myapp", "", entry("myapp", evilImage), newImage},
		"a request for a Tag of another namespace finds none": {annotated(newImage, genuine), newImage, genuine, entry("theirs", evilImage), newImage},
		"a request for a path to another namespace":           {annotated(newImage, genuine), newImage, genuine, entry("../other/tags/theirs", evilImage), newImage},
		"a request that is not JSON":                          {annotated(newImage, genuine), newImage, genuine, "}", newImage},
		"a record with a foreign image":                       {annotated(newImage, genuine), newImage, entry("myapp", evilImage), "", newImage},
		"a record with a foreign image, and the name again":   {annotated(newImage, genuine), "myapp", entry("myapp", evilImage), "", newImage},
		"a record with a foreign image on create":             {nil, "myapp", entry("myapp", evilImage), "", newImage},
		"a record of another Tag's name":                      {annotated(newImage, genuine), "myapp", entry("theirs", evilImage), "", newImage},
		"a record of a Tag of another namespace on create":    {nil, "theirs", entry("theirs", evilImage), "", placeholder},
		"a record that is not JSON":                           {annotated(newImage, genuine), newImage, "}", "", newImage},
		"a record that is not an object":                      {annotated(newImage, genuine), newImage, `["app"]`, "", newImage},
	} {
		t.Run(name, func(t *testing.T) {
			theirs := importedTag("theirs", evilImage)
			theirs.Namespace = "other"
			tags := cacheOf(t, importedTag("myapp", newImage), theirs)
			pinner := &admission.Pinner{Tags: tags, Live: tags, Registries: noRegistries{}, Username: manager}
			operation, old, forged := admissionv1.Create, any(nil), annotated(row.image, row.record)
			if row.stored != nil {
				operation, old = admissionv1.Update, row.stored
			}
			if row.requested != "" {
				forged.Annotations[v1.AnnotationRequested] = row.requested
			}
			request := review(t, operation, "mallory", forged, old)
			got := patched(t, request, pinner.Handle(t.Context(), request))
			if image := got.Spec.Template.Spec.Containers[0].Image; image != row.want {
				t.Errorf("the image is %s, want %s", image, row.want)
			}
			if left, ok := got.Annotations[v1.AnnotationRequested]; ok {
				t.Errorf("the request %s is stored", left)
			}
			var record pin.Record
			if err := json.Unmarshal([]byte(got.Annotations[v1.AnnotationPinned]), &record); err != nil || record["app"].Image == evilImage {
				t.Errorf("the record is %q: %v", got.Annotations[v1.AnnotationPinned], err)
			}
		})
	}
}
