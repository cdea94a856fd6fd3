package admission_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/webhooks/admission"
)

// memory is a cache of Tags that returns copies by default, as the informers' does.
type memory map[client.ObjectKey]*v1.Tag

func (m memory) Get(_ context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	tag, ok := m[key]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "tags"}, key.Name)
	}
	var chosen client.GetOptions
	if chosen.ApplyOptions(options); chosen.UnsafeDisableDeepCopy == nil || !*chosen.UnsafeDisableDeepCopy {
		tag = tag.DeepCopy()
	}
	*object.(*v1.Tag) = *tag
	return nil
}

func (memory) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func fiveHundredTags() memory {
	tags := memory{}
	for i := range 500 {
		tag := &v1.Tag{Spec: v1.TagSpec{From: fmt.Sprintf("quay.io/company/app-%d:latest", i)}}
		tag.Namespace, tag.Name = "dev", fmt.Sprintf("app-%d", i)
		for generation := range int64(5) {
			tag.RecordImport(v1.Reference{
				Generation: generation, From: tag.Spec.From, ImportedAt: metav1.NewTime(time.Unix(generation, 0)),
				ImageReference: fmt.Sprintf("quay.io/company/app-%d@sha256:%064d", i, generation), Trigger: v1.TriggerPush,
			})
		}
		tags[client.ObjectKeyFromObject(tag)] = tag
	}
	return tags
}

// realistic returns a Deployment as the API server has it after a few rollouts: about 10 KiB, most of which admission does not
// read.
func realistic(annotations map[string]string, images ...string) *appsv1.Deployment {
	d := annotated("", "")
	d.Annotations = annotations
	d.Labels = map[string]string{"app.kubernetes.io/name": "app", "app.kubernetes.io/part-of": "shop", "team": "checkout"}
	d.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kubectl-create", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "apps/v1", FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(ownedBy(len(images))),
	}}
	pod := &d.Spec.Template.Spec
	pod.Containers = nil
	for i, image := range images {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: image, ImagePullPolicy: corev1.PullAlways, Args: []string{"--serve", "--verbose"}}
		for e := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", e), Value: "some-value-of-usual-length"})
		}
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}}
		c.LivenessProbe = c.ReadinessProbe
		c.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/etc/app"}, {Name: "tmp", MountPath: "/tmp"}}
		pod.Containers = append(pod.Containers, c)
	}
	scratch := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	pod.Volumes = []corev1.Volume{{Name: "config", VolumeSource: scratch}, {Name: "tmp", VolumeSource: scratch}}
	return d
}

// ownedBy returns the fields of the manager that created such a Deployment.
func ownedBy(containers int) string {
	const probe = `{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}}`
	var env, list []string
	for e := range 20 {
		env = append(env, fmt.Sprintf(`"k:{\"name\":\"SETTING_%d\"}":{".":{},"f:name":{},"f:value":{}}`, e))
	}
	for i := range containers {
		list = append(list, fmt.Sprintf(`"k:{\"name\":\"c%d\"}":{".":{},"f:args":{},"f:env":{".":{},%s},"f:image":{},"f:imagePullPolicy":{},"f:livenessProbe":%s,`+
			`"f:name":{},"f:readinessProbe":%s,"f:resources":{".":{},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}}}`, i, strings.Join(env, ","), probe, probe))
	}
	return `{"f:metadata":{"f:labels":{".":{},"f:team":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:strategy":{"f:type":{}},"f:template":{"f:spec":{"f:containers":{` +
		strings.Join(list, ",") + `},"f:dnsPolicy":{},"f:restartPolicy":{},"f:volumes":{".":{},"k:{\"name\":\"tmp\"}":{".":{},"f:name":{}}}}}}}`
}

func BenchmarkPinner(b *testing.B) {
	enabled := map[string]string{v1.AnnotationEnabled: "true"}
	pinned := map[string]string{v1.AnnotationEnabled: "true", v1.AnnotationPinned: `{"c0":{"tag":"app-7","image":"quay.io/company/app-7@` + fmt.Sprintf("sha256:%064d", 4) + `"}}`}
	image := fmt.Sprintf("quay.io/company/app-7@sha256:%064d", 4)
	for name, row := range map[string]struct{ object, old *appsv1.Deployment }{
		"a Deployment is created":                    {realistic(enabled, "app-7", "proxy:1.2", "app-8"), nil},
		"a pinned one is updated":                    {realistic(pinned, image, "proxy:1.2", "proxy:1.3"), realistic(pinned, image, "proxy:1.2", "proxy:1.2")},
		"one that did not opt in is created":         {realistic(nil, "nginx", "proxy:1.2", "app:3"), nil},
		"one that is annotated otherwise is created": {realistic(map[string]string{v1.AnnotationEnabled: "false"}, "nginx", "proxy:1.2", "app:3"), nil},
	} {
		b.Run(name, func(b *testing.B) {
			pinner := &admission.Pinner{Tags: fiveHundredTags(), Live: memory{}, Registries: noRegistries{}, Username: manager}
			operation, old := admissionv1.Create, any(nil)
			if row.old != nil {
				operation, old = admissionv1.Update, row.old
			}
			request := review(b, operation, "alice", row.object, old)
			b.SetBytes(int64(len(request.Object.Raw) + len(request.OldObject.Raw)))
			b.ReportAllocs()
			for b.Loop() {
				if response := pinner.Handle(b.Context(), request); !response.Allowed {
					b.Fatalf("refused: %v", response.Result)
				}
			}
		})
	}
}
