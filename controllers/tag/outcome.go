package tag

import v1 "github.com/images-io/tagger/api/v1"

// outcome is what a step found: how the status changes, and what to say once that is written.
type outcome struct {
	change func(*v1.Tag)
	events []pendingEvent
	// remember is called once the change is written, or where there is none: what a step found counts only then.
	remember func()
}

// apply changes the status of a Tag as the outcome says.
func (o outcome) apply(tag *v1.Tag) {
	if o.change != nil {
		o.change(tag)
	}
	tag.Trim()
}

// pendingEvent is something to say about a Tag after its status was written.
type pendingEvent struct {
	kind, reason, action, note string
}
