package tag_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/controllers/internal/controllertest"
	tagcontroller "github.com/images-io/tagger/controllers/tag"
	"github.com/images-io/tagger/controllers/tag/state"
	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/test/harness"
)

// workers is how many Tags are worked on at once.
const workers = 32

// wholeSecond is a time that a status can hold: what failed before a change at that time is tried again at once.
var wholeSecond = clocktesting.NewFakePassiveClock(controllertest.SomeTime.Add(time.Hour))

// gate is a registry that says which Tag it was asked for, and answers for one of those that are merely there when it is told to.
type gate struct {
	asked  chan string
	answer chan struct{}
	ctx    context.Context //nolint:containedctx // Import has none
}

func (g *gate) Import(tag *v1.Tag, _ importer.Options) (importer.Result, error) {
	g.asked <- tag.Name
	answer := g.answer
	if !strings.HasPrefix(tag.Name, "a-") {
		answer = nil // one of the failing that ends is due again, before the rest
	}
	select {
	case <-answer:
	case <-g.ctx.Done():
	}
	return importer.Result{Reference: controllertest.NewImage}, g.ctx.Err()
}

func (g *gate) Check(tag *v1.Tag, options importer.Options) (importer.Result, error) {
	return g.Import(tag, options)
}

func (g *gate) Verify(*v1.Tag, *v1.Reference) (importer.Result, error) {
	return importer.Result{}, nil
}

// TestPriority_UserBeforeInitialList: while every worker waits for a registry, and more Tags than that were there at
// the start, a user upgrades the last of them, and registries.conf is edited. The next worker that gets free serves the
// person, then those come that failed, and then the rest.
func TestPriority_UserBeforeInitialList(t *testing.T) {
	api := controllertest.API(t)
	const there = 100
	for i := range there {
		create(t, fmt.Sprintf("a-%03d", i), func(*v1.Tag) {})
	}
	for i := range 3 {
		create(t, fmt.Sprintf("y-failing-%d", i), func(tag *v1.Tag) {
			tag.RecordFailure(v1.ReasonRefusedByPolicy, "blocked", true, controllertest.SomeTime)
		})
	}
	urgent := create(t, "z-urgent", func(tag *v1.Tag) {
		tag.MarkAdmitted()
		tag.RecordImport(v1.Reference{From: tag.Spec.From, ImageReference: controllertest.OldImage, ImportedAt: controllertest.SomeTime, Trigger: v1.TriggerImport})
	})
	registry := &gate{asked: make(chan string, there), answer: make(chan struct{}), ctx: t.Context()}
	memory := state.NewState(wholeSecond)
	fresh, retried := depth(t, "0"), depth(t, "-50")
	startTagController(t, registry, memory)
	failing := 3
	for range workers { // the cache comes in no order, so some of those may be served already
		if strings.HasPrefix(<-registry.asked, "y-") {
			failing--
		}
	}

	upgraded := urgent.DeepCopy()
	upgraded.Spec.Generation = new(int64(1))
	if err := api.Patch(t.Context(), upgraded, client.MergeFrom(urgent)); err != nil {
		t.Fatal(err)
	}
	waiting(t, "0", fresh, 1)
	memory.ConfigurationChanged()
	waiting(t, "-50", retried, 3)

	want := append(append([]string{"z-"}, slices.Repeat([]string{"y-"}, failing)...), "a-")
	var order []string
	for range want {
		registry.answer <- struct{}{}
		order = append(order, (<-registry.asked)[:2])
	}
	if !slices.Equal(order, want) {
		t.Errorf("the order is %v, want %v", order, want)
	}
}

// waiting returns when that many more Tags wait in the queue with that priority than before: the metric outlives its queue.
func waiting(t *testing.T, priority string, before, more float64) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return depth(t, priority) == before+more, nil
	})
	if err != nil {
		t.Fatalf("%v Tags wait with priority %s, want %v: %v", depth(t, priority)-before, priority, more, err)
	}
}

// depth is how many Tags wait with that priority.
func depth(t *testing.T, priority string) float64 {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "workqueue_depth" && labels["controller"] == "tag" && labels["priority"] == priority {
				return metric.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// create stores a Tag with the status that record gives it.
func create(t *testing.T, name string, record func(*v1.Tag)) *v1.Tag {
	t.Helper()
	tag := controllertest.NewTag()
	tag.Name = name
	record(tag)
	controllertest.Create(t, tag)
	return tag
}

func startTagController(t *testing.T, registry tagcontroller.Importer, memory *state.State) {
	t.Helper()
	mgr, err := ctrl.NewManager(controllertest.Config(), ctrl.Options{
		Scheme:     harness.Scheme(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	tags := tagcontroller.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Importer: registry, Jobs: &fakeJobs{}, Events: events.NewFakeRecorder(1000), Clock: wholeSecond, State: memory,
	}
	if err := tags.SetupWithManager(t.Context(), mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
