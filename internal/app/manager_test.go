package app

import (
	"reflect"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/workloadkind"
)

func TestClientConfig_NoLimitAndUserAgent(t *testing.T) {
	given := &rest.Config{Host: "https://api.invalid"}
	got := clientConfig(given)
	if got.QPS >= 0 || got.RateLimiter != nil || got.Host != given.Host || got.UserAgent[:7] != "tagger/" {
		t.Errorf("got %+v", got)
	}
	if given.QPS != 0 {
		t.Error("the caller's configuration was changed")
	}
}

// TestEveryWatchedKindIsStripped: a forgotten kind only costs memory, which no other test shows.
func TestEveryWatchedKindIsStripped(t *testing.T) {
	stripped := map[string]bool{}
	for object, options := range cacheOptions().ByObject {
		if options.Transform != nil {
			stripped[reflect.TypeOf(object).String()] = true
		}
	}
	want := []client.Object{&v1.Tag{}}
	for _, kind := range workloadkind.All {
		want = append(want, kind.New())
	}
	for _, object := range want {
		if !stripped[reflect.TypeOf(object).String()] {
			t.Errorf("%T is cached whole", object)
		}
	}
	if len(stripped) != len(want)+1 { // and pull secrets
		t.Errorf("stripped are %v", stripped)
	}
}
