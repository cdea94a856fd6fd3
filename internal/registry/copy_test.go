package registry_test

import (
	"testing"
)

func TestAnImageIsCopiedWithAllPlatforms(t *testing.T) {
	s := newStage(t, newPlainUpstream(t), newPlainUpstream(t))
	want := s.source.pushIndex(t, "team/app", "latest", indexAround(platforms(t, 2, 3, 1<<10), platforms(t, 1, 2, 1<<10)))
	done := s.copied(s.order(want))
	if got := s.holds("cache/shop/app", "0"); got != want {
		t.Errorf("the mirror has %q, want %s", got, want)
	}
	if done.Sent == 0 || done.Found != 0 || done.Mounted != 0 {
		t.Errorf("got %+v", done)
	}
	if missing := s.missing("cache/shop/app", "0"); len(missing) > 0 {
		t.Errorf("the mirror lacks %v", missing)
	}
}

func TestRequestsOfACopy(t *testing.T) {
	s := newStage(t, newPlainUpstream(t), newPlainUpstream(t))
	want := s.source.pushIndex(t, "team/app", "latest", platforms(t, 2, 4, 1<<20))
	order := s.order(want)
	if held, err := s.client.Holds(t.Context(), order.To, "0"); held != "" || err != nil {
		t.Fatal(held, err)
	}
	s.copied(order)
	if count := s.source.count("", "") + s.mirror.count("", ""); count > 38 {
		t.Errorf("%d requests", count)
		for _, r := range append(s.source.requests("", ""), s.mirror.requests("", "")...) {
			t.Log(r.method, r.path, r.query)
		}
	}
	s.mirror.clearLog()
	if held, err := s.client.Holds(t.Context(), order.To, "0"); held != want || err != nil {
		t.Fatal(held, err)
	}
	if count := s.mirror.count("", ""); count != 1 {
		t.Errorf("the same image again takes %d requests", count)
	}
}
