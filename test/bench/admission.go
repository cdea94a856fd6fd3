package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	webhookadmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	v1 "github.com/images-io/tagger/api/v1"
	backstopcontroller "github.com/images-io/tagger/controllers/backstop"
	"github.com/images-io/tagger/test/bench/measure"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/webhooks/admission"
)

// admittedNamespace holds the Tags that admission knows.
const admittedNamespace = "shop"

var (
	admittedTags = measure.FullOrShort(500, 10)
	// handled is how many admissions are timed in this process, pairs how many Deployments are created with the webhook, and
	// how many without.
	handled = measure.FullOrShort(5000, 50)
	pairs   = measure.FullOrShort(400, 5)
)

// admissions measures the cost of admission: of the handler alone, and of a Deployment's creation as its user sees it.
func admissions(ctx context.Context, rows *measure.Report) (err error) {
	s, err := startStand(ctx)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return err
	}
	if err := s.namespace(ctx, admittedNamespace); err != nil {
		return err
	}
	isReady := func(object client.Object) bool {
		tag, ok := object.(*v1.Tag)
		return ok && tag.IsReady()
	}
	ready, err := s.counts(ctx, "Ready Tags", &v1.Tag{}, isReady)
	if err != nil {
		return err
	}
	err = parallel(ctx, admittedTags, func(ctx context.Context, i int) error {
		return s.api.Create(ctx, s.tag(admittedNamespace, fmt.Sprintf("app-%d", i)))
	})
	if err := errors.Join(err, ready.until(ctx, admittedTags), s.settled(ctx)); err != nil {
		return err
	}
	// The backstop has its own benchmark.
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: backstopcontroller.Name}}
	if err := s.api.Delete(ctx, binding); err != nil {
		return err
	}
	return errors.Join(s.handler(ctx, rows), s.creations(ctx, rows))
}

// handler times the handler in this process, over a cache of the manager's Tags.
func (s *stand) handler(ctx context.Context, rows *measure.Report) error {
	object := realistic(admittedNamespace, "handled", "app-7", "registry.example.com/proxy:1.2", "app-8")
	if err := s.api.Create(ctx, object, client.DryRunAll); err != nil { // with all defaults and managedFields, as admission sees it
		return err
	}
	object.Annotations = map[string]string{v1.AnnotationEnabled: "true"}
	pinner := &admission.Pinner{Tags: s.cache, Live: s.api, Registries: dockerHub{}}
	request, err := review(object)
	if err != nil {
		return err
	}
	times, allocations, err := timed(func() bool { return pinner.Handle(ctx, request).Allowed })
	if err != nil {
		return err
	}
	rows.Duration("a Deployment of 3 containers in the admission handler, 500 Tags: median", percentile(times, 50), 200*time.Microsecond)
	rows.Duration("  99th percentile", percentile(times, 99), 2*time.Millisecond)
	rows.Note("  allocations", fmt.Sprintf("%.0f", allocations))
	if err := served(rows, pinner, request); err != nil {
		return err
	}
	object.Annotations = nil
	if request, err = review(object); err != nil {
		return err
	}
	times, allocations, err = timed(func() bool { return pinner.Handle(ctx, request).Allowed })
	rows.Note("  one that did not opt in: median, allocations", fmt.Sprintf("%s, %.0f", measure.Readable(percentile(times, 50)), allocations))
	return err
}

// served times the addition of controller-runtime: from the bytes of an AdmissionReview to those of the response.
func served(rows *measure.Report, pinner *admission.Pinner, request webhookadmission.Request) error {
	webhook := &webhookadmission.Webhook{Handler: pinner}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"}, Request: &request.AdmissionRequest,
	})
	if err != nil {
		return err
	}
	times, allocations, err := timed(func() bool {
		post := httptest.NewRequest(http.MethodPost, admission.PathWorkloads, bytes.NewReader(body))
		post.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		webhook.ServeHTTP(answer, post)
		return bytes.Contains(answer.Body.Bytes(), []byte(`"allowed":true`))
	})
	rows.Note("  from the bytes of the review to those of the response: median, allocations", fmt.Sprintf("%s, %.0f", measure.Readable(percentile(times, 50)), allocations))
	return err
}

// review returns the review of an object's creation.
func review(object *appsv1.Deployment) (webhookadmission.Request, error) {
	raw, err := json.Marshal(object)
	return webhookadmission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: "uid", Operation: admissionv1.Create, Namespace: object.Namespace, Name: object.Name,
		Kind:   metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Object: k8sruntime.RawExtension{Raw: raw},
	}}, err
}

// timed admits a request many times. It returns the sorted times and the mean of allocations.
func timed(admit func() bool) ([]time.Duration, float64, error) {
	times := make([]time.Duration, 0, handled)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range handled {
		start := time.Now()
		allowed := admit()
		times = append(times, time.Since(start))
		if !allowed {
			return nil, 0, errors.New("the Deployment was refused")
		}
	}
	runtime.ReadMemStats(&after)
	slices.Sort(times)
	return times, float64(after.Mallocs-before.Mallocs) / float64(handled), nil
}

// creations times the creation of Deployments: one like the README's, and a large one.
func (s *stand) creations(ctx context.Context, rows *measure.Report) error {
	small := func(namespace, name string) *appsv1.Deployment {
		d := deployment(namespace, name, "app-7")
		d.Annotations = nil
		return d
	}
	large := func(namespace, name string) *appsv1.Deployment {
		return realistic(namespace, name, "app-7", "registry.example.com/proxy:1.2", "app-8")
	}
	return errors.Join(
		s.pairs(ctx, rows, "a Deployment of one container", "small", small),
		s.pairs(ctx, rows, "one of 3 containers and 60 variables, 10 KiB", "large", large),
	)
}

// pairs creates Deployments in pairs, with the webhook and without: in Tagger's own namespace, which the webhook's selector
// excludes, and without the annotation, so that no controller acts on them.
func (s *stand) pairs(ctx context.Context, rows *measure.Report, what, prefix string, made func(namespace, name string) *appsv1.Deployment) error {
	var with, without []time.Duration
	create := func(times *[]time.Duration, object *appsv1.Deployment) error {
		start := time.Now()
		err := s.api.Create(ctx, object)
		*times = append(*times, time.Since(start))
		return err
	}
	for i := range pairs {
		name := fmt.Sprintf("%s-%d", prefix, i)
		pinned, plain := made(admittedNamespace, name), made(cluster.Namespace, name)
		pinned.Annotations = map[string]string{v1.AnnotationEnabled: "true"}
		if err := errors.Join(create(&without, plain), create(&with, pinned)); err != nil {
			return err
		}
		if image := pinned.Spec.Template.Spec.Containers[0].Image; image == "app-7" {
			return errors.New("the webhook was not called")
		}
	}
	rows.Duration("what the webhook adds to the creation of "+what+", on average", mean(with)-mean(without), 3*time.Millisecond)
	rows.Note("  with it, without it", measure.Readable(mean(with))+", "+measure.Readable(mean(without)))
	return nil
}

func mean(times []time.Duration) time.Duration {
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return sum / time.Duration(max(len(times), 1))
}

// percentile returns the time that so many percent of the times do not exceed. The times are sorted.
func percentile(times []time.Duration, of int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[(len(times)-1)*of/100]
}

// dockerHub is the default registry.
type dockerHub struct{}

func (dockerHub) UnqualifiedRegistry() string { return "" }

// realistic returns a typical Deployment of a service, one container for each image: about 10 KiB with the defaults of the API
// server.
func realistic(namespace, name string, images ...string) *appsv1.Deployment {
	d := deployment(namespace, name, "")
	d.Annotations = nil
	pod := &d.Spec.Template.Spec
	pod.Containers = nil
	for i, image := range images {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: image, Args: []string{"--serve", "--verbose"}}
		for e := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", e), Value: "a-value-of-usual-length"})
		}
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}}
		c.LivenessProbe = c.ReadinessProbe
		c.VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}}
		pod.Containers = append(pod.Containers, c)
	}
	pod.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	return d
}
