package kubectltag

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	v1 "github.com/images-io/tagger/api/v1"
)

// tagAt returns a Tag with a current generation and others.
func tagAt(wanted int64, known ...int64) *v1.Tag {
	tag := &v1.Tag{ObjectMeta: metav1.ObjectMeta{Name: "myapp"}, Spec: v1.TagSpec{Generation: &wanted}}
	for _, generation := range known {
		tag.RecordImport(v1.Reference{Generation: generation, ImageReference: "a@b"})
	}
	return tag
}

func usedAt(tag *v1.Tag, generation int64) *v1.Tag {
	tag.Select(generation, metav1.Now())
	return tag
}

func failing(tag *v1.Tag, reason string) *v1.Tag {
	tag.RecordFailure(v1.ReasonNotFound, reason, false, metav1.Now())
	return tag
}

func TestTargets(t *testing.T) {
	for name, row := range map[string]struct {
		target func(*v1.Tag) (int64, error)
		tag    *v1.Tag
		want   int64
		says   string
	}{
		"upgrade goes to the next known generation":                     {target: next, tag: tagAt(0, 0, 1, 2), want: 1},
		"upgrade skips generations that are not kept":                   {target: next, tag: tagAt(0, 0, 3, 4), want: 3},
		"upgrade at the newest one imports":                             {target: next, tag: tagAt(2, 0, 1, 2), want: 3},
		"upgrade waits for a pending import":                            {target: next, tag: failing(tagAt(1, 0), "no such tag"), says: "the import of generation 1 of Tag \"myapp\" is pending: no such tag"},
		"upgrade waits for the first import":                            {target: next, tag: tagAt(0), says: "is pending"},
		"downgrade goes to the generation before":                       {target: previous, tag: tagAt(2, 0, 1, 2), want: 1},
		"downgrade leaves an import that fails":                         {target: previous, tag: failing(tagAt(3, 1, 2), "no such tag"), want: 2},
		"downgrade goes to what is in use, though newer ones are known": {target: previous, tag: usedAt(tagAt(3, 0, 1, 2), 1), want: 1},
		"downgrade needs an import":                                     {target: previous, tag: tagAt(0), says: "has no import yet"},
		"downgrade stops at the oldest one":                             {target: previous, tag: tagAt(0, 0, 1), says: "generation 0 is the oldest one that is kept"},
		"import makes a new generation from any":                        {target: fresh, tag: tagAt(0, 0, 1, 2), want: 3},
		"import waits for a pending import, as upgrade":                 {target: fresh, tag: tagAt(3, 2), says: "is pending"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := row.target(row.tag)
			if row.says == "" && (err != nil || got != row.want) {
				t.Errorf("got %d, %v; want %d", got, err, row.want)
			}
			if row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
				t.Errorf("got %v, want an error that says %q", err, row.says)
			}
		})
	}
}

func TestHelpShowsTheVerbsAsUsersTypeThem(t *testing.T) {
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	command := NewCommand(streams)
	command.SetArgs([]string{"upgrade", "--help"})
	if err := command.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kubectl tag upgrade TAG", "kubectl tag upgrade myapp-devel", "--namespace", "--context"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the help:\n%s", want, out)
		}
	}
}

func TestATagHasToBeNamed(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	command := NewCommand(streams)
	command.SetArgs([]string{"upgrade"})
	if err := command.Execute(); err == nil {
		t.Error("no error")
	}
}
